"""Changes between two nights, with intervals, so that noise is not taken for change.

Nights keep estimates, not outcomes, so a change between them has no paired interval: the two estimates are taken as
independent. Where nights share test days (they mostly do) their errors go together, and the interval is wider than need
be: it may miss a change, and does not invent one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from roilake.metrics.registry import direction, in_order
from roilake.report.night import Measure, Measures
from roilake.runtime.pipeline import EvaluationSet


@dataclass(frozen=True)
class Change:
    """A metric of one model and slice: ``after`` minus ``before`` is ``value``, within ``low`` to ``high`` (95 %; None
    where either night has no interval)."""

    model: str
    slice: str
    metric: str
    before: Measure
    after: Measure
    value: float
    low: float | None
    high: float | None

    @property
    def beyond(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or (of a metric without a better side) ``moved``; ``noise`` within the interval and
        ``unknown`` without one."""
        if self.low is None:
            return "unknown"
        if not self.beyond:
            return "noise"
        side = direction(self.metric) * self.value
        return "better" if side > 0 else "worse" if side < 0 else "moved"

    @property
    def strength(self) -> float:
        """Size in half-widths of its interval; 0 where unknown."""
        if self.low is None or self.high is None or self.high == self.low:
            return 0.0
        return 2 * abs(self.value) / (self.high - self.low)


def difference(before: Measure, after: Measure) -> tuple[float, float | None, float | None]:
    """after - before = d and its 95 % interval for independent estimates whose own intervals [l, u] need not be
    symmetric: d - sqrt((a - l_a)^2 + (u_b - b)^2) to d + sqrt((u_a - a)^2 + (b - l_b)^2) (MOVER: Zou and Donner 2008,
    Statistics in Medicine 27:1693)."""
    value = after["value"] - before["value"]
    if any(measure[end] is None for measure in (before, after) for end in ("low", "high")):
        return value, None, None
    down = sqrt((after["value"] - after["low"]) ** 2 + (before["high"] - before["value"]) ** 2)
    up = sqrt((after["high"] - after["value"]) ** 2 + (before["value"] - before["low"]) ** 2)
    return value, value - down, value + up


def changes(before: Measures, after: Measures, name: str = "all") -> list[Change]:
    """Every metric of every model that both nights have a value of, by metric; ``name`` is the slice's."""
    found = []
    for metric in in_order(metric for measures in after.values() for metric in measures):
        for model in after:
            was, now = before.get(model, {}).get(metric), after[model].get(metric)
            if was and now and None not in (was["value"], now["value"]):
                found.append(Change(model, name, metric, was, now, *difference(was, now)))
    return found


def slice_changes(
    before: Mapping[tuple[str, str], Measures], after: Mapping[tuple[str, str], Measures], model: str, on: EvaluationSet
) -> Iterator[Change]:
    """Changes of one model in every slice of the evaluation set's split, but its own, that both nights have."""
    for (split, name), found in after.items():
        if split == on.split and name not in on.slices and model in found:
            earlier = before.get((split, name), {})
            yield from changes(earlier, {model: found[model]}, name)
