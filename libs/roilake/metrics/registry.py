"""All metrics by name: those of ``roilake.metrics.declared``, and those that a pipeline registers beside its config.

Configs, gates, reports and ``compare`` read this registry. It loads neither numpy nor Spark: functions are named, and
imported when they are needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from roilake.errors import MetricError
from roilake.metrics.declared import STANDARD
from roilake.metrics.metric import GROUPS, Metric

__all__ = [
    "GROUPS", "Metric", "direction", "distinct", "find", "group_of", "in_order", "kind_of", "label", "listed", "parse",
    "register",
]  # fmt: skip

_METRICS: dict[str, Metric] = {}
"""By name, in the order of the page."""


def register(metric: Metric, *, after: str = "") -> Metric:
    """Add a metric, on pages after the one that ``after`` names (last without it). Registering it again changes
    nothing; another one of its name, or a group that is not there, is a MetricError."""
    if metric.group not in GROUPS:
        raise MetricError(f"metric {metric.name}: no group {metric.group!r}; there are {', '.join(GROUPS)}")
    known = _METRICS.get(metric.name, metric)
    if known != metric:
        raise MetricError(f"metric {metric.name} is registered twice: {known.function}, {metric.function}")
    if metric.name not in _METRICS:
        names = list(_METRICS)
        index = names.index(after) + 1 if after else len(names)
        later = {name: _METRICS.pop(name) for name in names[index:]}
        _METRICS.update({metric.name: metric, **later})
    return metric


for _metric in STANDARD:
    register(_metric)


def kind_of(name: str) -> str:
    """``ndcg`` of ``ndcg@20``."""
    return name.partition("@")[0]


def find(name: str) -> Metric | None:
    """The metric that a name with or without its K is of; None for one that only an older night knows."""
    return _METRICS.get(kind_of(name))


def parse(name: str, own: Collection[str] = ()) -> tuple[Metric, int | None]:
    """``recall@20`` -> (recall, 20), ``auc`` -> (auc, None). MetricError for what is no metric, has a K that it must
    not have or lacks one, or is known to another pipeline only: ``own`` names those of the asking one."""
    found = re.fullmatch(r"([a-z]\w*)(?:@([1-9]\d*))?", name)
    metric, k = (_METRICS.get(found[1]), int(found[2]) if found[2] else None) if found else (None, None)
    known = metric is not None and (metric.inputs != "own" or metric.name in own)
    if metric is None or not known or metric.at_k == ("must" if k is None else "never"):
        plain = [each.name for each in listed(own) if each.at_k != "must"]
        with_k = [f"{each.name}@K" for each in listed(own) if each.at_k != "never"]
        names = ", ".join((*plain, *with_k))
        raise MetricError(f"unknown metric {name!r}; there are {names} (K a whole number from 1)")
    return metric, k


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each once. MetricError for one name in place of several: a text is a list of letters, too."""
    if isinstance(names, str):
        raise MetricError(f"{names!r} must be a list of names: [{names!r}]")
    return list(dict.fromkeys(names))


def direction(name: str) -> int:
    """1 where more of the metric is better, -1 where less is; 0 where neither, or where nobody knows it any more."""
    metric = find(name)
    return metric.direction if metric else 0


def group_of(name: str) -> str:
    """The group of metrics that it is shown with; ``lists`` for one that is not known."""
    metric = find(name)
    return metric.group if metric else GROUPS[-1]


def label(name: str) -> str:
    """A metric's name for people."""
    metric, (kind, _, k) = find(name), name.partition("@")
    text = metric.label if metric else kind
    return f"{text} @{k}" if k else text


def listed(own: Collection[str] = ()) -> list[Metric]:
    """All metrics that any table or array has, and the ``own`` ones of a pipeline, in the order of the page."""
    return [metric for metric in _METRICS.values() if metric.inputs != "own" or metric.name in own]


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct metric names in the order of the page, then by K; those that are not known come last."""
    index = {name: number for number, name in enumerate(_METRICS)}

    def position(name: str) -> tuple[int, str, int]:
        kind, _, k = name.partition("@")
        return index.get(kind, len(index)), kind, int(k or 0)

    return sorted(set(names), key=position)
