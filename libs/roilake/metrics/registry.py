"""Every metric, declared once: name, label, group, better side, and the function that computes it.

Configs, gates, reports and ``compare`` read this registry. It loads neither numpy nor Spark: functions are named, and
imported when they are needed. A pipeline registers metrics of its own beside its config."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from typing import Any, Literal

from roilake.errors import MetricError

GROUPS = ("separation", "ranking", "probability", "lists")
"""Metrics that are shown together, in the order of the page."""


@dataclass(frozen=True)
class Metric:
    """``direction`` is 1 where more is better, -1 where less is, 0 where neither. ``function`` names what computes it,
    as ``module:attribute``; its form follows from ``inputs``:

    - ``scores``: labels and scores of any scale; ``f(data: Labelled, user_N, users) -> Summed | Linear``.
    - ``probabilities``: labels and probabilities; a ``classification.Sums``.
    - ``ranks``: ranks of the relevant items; ``f(ranks: Ranks, k) -> [R]``.
    - ``lists``: the first K items shown, whether relevant or not; ``f(top_RK, catalogue: Catalogue) -> [R]``, but for
      ``coverage``, which no list has alone.
    - ``own``: what its pipeline gives it. Only that pipeline's evaluation computes it.

    ``leading`` orders the metrics that stand for all where few are shown: those without it come last."""

    name: str
    label: str
    group: str
    direction: Literal[-1, 0, 1]
    function: str
    inputs: Literal["scores", "probabilities", "ranks", "lists", "own"] = "own"
    at_k: Literal["never", "may", "must"] = "never"
    leading: int | None = None

    @cached_property
    def compute(self) -> Any:
        """The function itself."""
        module, _, attribute = self.function.partition(":")
        return attrgetter(attribute)(import_module(module))


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


_OBSERVE, _SUMS, _RANKS, _LISTS = (
    f"roilake.metrics.{module}" for module in ("observed:observe_", "classification:", "ranking:Ranks.", "lists:")
)
_PROBABILITIES: Literal["probabilities"] = "probabilities"
for _metric in (
    Metric("auc", "AUC", "separation", 1, _OBSERVE + "auc", "scores", leading=0),
    Metric("gauc", "GAUC", "separation", 1, _OBSERVE + "gauc", "scores"),
    Metric("pr_auc", "PR-AUC", "separation", 1, _OBSERVE + "pr_auc", "scores"),
    Metric("ks", "KS", "separation", 1, _OBSERVE + "ks", "scores"),
    Metric("hit_rate", "Hit rate", "ranking", 1, _RANKS + "hit_rate", "ranks", "must", leading=3),
    Metric("recall", "Recall", "ranking", 1, _RANKS + "recall", "ranks", "must", leading=5),
    Metric("precision", "Precision", "ranking", 1, _RANKS + "precision", "ranks", "must"),
    Metric("ndcg", "NDCG", "ranking", 1, _RANKS + "ndcg", "ranks", "must", leading=4),
    Metric("mrr", "MRR", "ranking", 1, _RANKS + "reciprocal_rank", "ranks", "may"),
    Metric("map", "MAP", "ranking", 1, _RANKS + "average_precision", "ranks", "may"),
    Metric("log_loss", "Log-loss", "probability", -1, _SUMS + "log_loss", _PROBABILITIES),
    Metric("normalised_entropy", "Normalised entropy", "probability", -1, _SUMS + "normalised_entropy", _PROBABILITIES),
    Metric("brier", "Brier", "probability", -1, _SUMS + "brier", _PROBABILITIES),
    Metric("calibration_error", "Calibration error", "probability", -1, _SUMS + "calibration_error", _PROBABILITIES),
    Metric("calibration_ratio", "Calibration ratio", "probability", 0, _SUMS + "calibration_ratio", _PROBABILITIES),
    Metric("coverage", "Coverage", "lists", 0, _OBSERVE + "coverage", "lists", "must"),
    Metric("novelty", "Novelty", "lists", 0, _LISTS + "novelty", "lists", "must"),
    Metric("diversity", "Diversity", "lists", 0, _LISTS + "diversity", "lists", "must"),
    Metric("popularity_bias", "Popularity bias", "lists", 0, _LISTS + "popularity", "lists", "must"),
):  # fmt: skip
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
        usable = [each for each in _METRICS.values() if each.inputs != "own" or each.name in own]
        plain = [each.name for each in usable if each.at_k != "must"]
        with_k = [f"{each.name}@K" for each in usable if each.at_k != "never"]
        listed = ", ".join((*plain, *with_k))
        raise MetricError(f"unknown metric {name!r}; there are {listed} (K a whole number from 1)")
    return metric, k


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


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct metric names in the order of the page, then by K; those that are not known come last."""
    index = {name: number for number, name in enumerate(_METRICS)}

    def position(name: str) -> tuple[int, str, int]:
        kind, _, k = name.partition("@")
        return index.get(kind, len(index)), kind, int(k or 0)

    return sorted(set(names), key=position)
