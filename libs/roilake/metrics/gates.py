"""What a night must keep to, and what a gate found: one line of the audit, one row of table ``gates``. Here are the
bounds on metrics that a config sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa

from roilake.config.base import Bound, NightConfig
from roilake.metrics.registry import direction
from roilake.metrics.slices import ALL, is_delta, is_group

Row = Mapping[str, Any]
_ITSELF: Row = {"value": 0.0, "low": 0.0, "high": 0.0}


@dataclass(frozen=True)
class GateResult:
    """``gate`` names the check. A gate of a metric also has metric, model, split and slice, the ``bound`` in words, and
    the value with its 95 % interval (None where not defined); one of tables has only what it counted, if anything.
    ``detail`` says why it failed, or adds a remark."""

    gate: str
    passed: bool
    detail: str = ""
    metric: str = ""
    model: str = ""
    split: str = ""
    slice: str = ""
    bound: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def line(self) -> str:
        """All of it in one line."""
        if not self.metric:
            return f"{self.gate}: {self.detail}" if self.detail else self.gate
        where = "" if self.slice == ALL else f" on {self.slice}"
        found = describe(self.value, self.low, self.high)
        sentence = f"{self.split} {self.metric} of {self.model}{where} is {found}, must be {self.bound}"
        return f"{self.gate}: {sentence}{'; ' if self.detail else ''}{self.detail}"


def result_of(gate: str, faults: Iterable[str], shown: int | None = None) -> GateResult:
    """A check of tables that passes without faults; the first ``shown`` of them are listed."""
    found = list(faults)
    more = ", ..." if shown and len(found) > shown else ""
    return GateResult(gate, not found, "; ".join(found[:shown]) + more)


def describe(value: float | None, low: float | None, high: float | None) -> str:
    """``0.8312 [0.8104, 0.8520]``; ``undefined`` without a value."""
    if value is None:
        return "undefined"
    interval = "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
    return f"{value:.4f}{interval}"


def to_table(results: Sequence[GateResult], ds: date, run: str) -> pa.Table:
    """Rows of table ``gates``."""
    return pa.Table.from_pylist([{"ds": ds, "run": run, **asdict(result)} for result in results])


@dataclass(frozen=True)
class Measured:
    """The metrics of a night, by (model, split, slice, metric), and the model that serves it; ``ds`` is None when there
    is no such night."""

    ds: date | None = None
    rows: Mapping[tuple[str, str, str, str], Row] = field(default_factory=dict)
    served: str = ""

    @classmethod
    def of(cls, ds: date, rows: Iterable[Row], served: str = "") -> Measured:
        """From rows of table ``metrics``."""
        return cls(ds, {(row["model"], row["split"], row["slice"], row["metric"]): row for row in rows}, served)

    def find(self, model: str, split: str, name: str, metric: str) -> Row | None:
        """The row of a metric on a slice, if there is one with a value. The model that serves differs from itself by
        0."""
        if model == self.served and is_delta(name):
            return _ITSELF
        row = self.rows.get((model, split, name, metric))
        return row if row is not None and row["value"] is not None else None

    def groups(self, model: str, split: str, metric: str) -> dict[str, Row]:
        """Slices that are groups of rows and have an interval of some width, by name."""
        return {
            name: row
            for (m, s, name, kind), row in sorted(self.rows.items())
            if (m, s, kind) == (model, split, metric) and is_group(name) and half_width(row)
        }


def half_width(row: Row) -> float:
    """Half the width of a row's interval; 0 without one."""
    if row["value"] is None or row["low"] is None or row["high"] is None:
        return 0.0
    return float(row["high"] - row["low"]) / 2


def check_bounds(config: NightConfig, now: Measured, last: Measured) -> Iterator[GateResult]:
    """A result for each bound that the config sets, in its order."""
    for bound in config.gates.bounds:
        models = config.evaluated if bound.model == "all" else (bound.model or now.served,)
        for model in models:
            for result in _check(bound, model, now, last):
                yield result if result.passed else explained(result, now, last)


def _check(bound: Bound, model: str, now: Measured, last: Measured) -> Iterator[GateResult]:
    """A result for each of minimum, maximum and last night that the bound has."""
    row = now.find(model, bound.split, bound.slice, bound.metric) or {}
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    key = (bound.metric, model, bound.split, bound.slice)
    found = GateResult("", True, "", *key, value=value, low=low, high=high)
    if bound.minimum is not None:
        passed = value is not None and value >= bound.minimum
        yield replace(found, gate="minimum", passed=passed, bound=f"at least {bound.minimum:g}")
    if bound.maximum is not None:
        passed = value is not None and value <= bound.maximum
        yield replace(found, gate="maximum", passed=passed, bound=f"at most {bound.maximum:g}")
    if bound.not_worse_than:
        yield _compared(replace(found, gate="not_worse_than_last"), last, model if bound.model else last.served)


def _compared(result: GateResult, last: Measured, model: str) -> GateResult:
    """Fails when the whole interval lies on the worse side of that of the last night's ``model`` (see
    ``roilake.config.Bound``). Passes where there is nothing to compare with, and says so; a value that is no longer
    defined fails."""
    was, ds = last.find(model, result.split, result.slice, result.metric), last.ds
    if was is None:
        missing = f"night {ds} has no such value" if ds else "no night was published before"
        return replace(result, bound="not worse than last", detail=f"nothing to compare with: {missing}")
    by = "" if model == result.model else f" by {model}"
    bound = f"not worse than {describe(was['value'], was['low'], was['high'])} of {ds}{by}"
    if result.value is None:
        return replace(result, passed=False, bound=bound)
    if None in (result.low, result.high, was["low"], was["high"]):
        return replace(result, bound=bound, detail="without both intervals a change cannot be told from noise")
    fell, rose = result.high < was["low"], result.low > was["high"]  # type: ignore[operator]
    up = direction(result.metric) * (-1 if is_delta(result.slice) else 1) > 0
    return replace(result, passed=not (fell if up else rose), bound=bound)


def explained(result: GateResult, now: Measured, last: Measured) -> GateResult:
    """The failed result of a metric, with the slice that moved most; of a slice that the night does not have, with
    those that there are."""
    model, split, metric = result.model, result.split, result.metric
    if now.find(model, split, result.slice, metric) is None and (model, split, result.slice, metric) not in now.rows:
        measured = {name for m, s, name, k in now.rows if (m, s, k) == (model, split, metric)}
        slices = sorted(name for name in measured if is_delta(name) == is_delta(result.slice))
        return replace(result, detail=f"it was not measured; slices that were: {', '.join(slices) or 'none'}")
    detail = moved_most(model, split, metric, now, last)
    return replace(result, detail="; ".join(part for part in (result.detail, detail) if part))


def moved_most(model: str, split: str, metric: str, now: Measured, last: Measured) -> str:
    """In words: the slice whose value is furthest from the last published night's or, where there is none to compare
    with, from that of all requests. Distance is counted in half-widths of the slice's own 95 % interval, so that a
    small slice does not win by its noise."""
    groups, before = now.groups(model, split, metric), last.groups(model, split, metric)
    whole = now.find(model, split, ALL, metric)
    if set(groups) & set(before):
        origins = {name: before[name]["value"] for name in groups if name in before}
        what, origin = "slice that moved most", "was"
    elif groups and whole:
        origins = dict.fromkeys(groups, whole["value"])
        what, origin = "slice furthest from the whole", "all"
    else:
        return "there is no slice to compare"
    moves = {name: (groups[name]["value"] - then) / half_width(groups[name]) for name, then in origins.items()}
    name = max(moves, key=lambda slice_name: abs(moves[slice_name]))
    found = describe(*(groups[name][key] for key in ("value", "low", "high")))
    return f"{what}: {name}, {found}, {origin} {origins[name]:.4f} ({moves[name]:+.1f} half-widths)"
