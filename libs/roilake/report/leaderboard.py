"""Where the default model is among the models of its night, by the paired intervals of their differences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from roilake.metrics.registry import GROUPS, direction, find, group_of, in_order, kind_of
from roilake.report.night import Measure, Measures, NightData

TILES = 4
COLUMNS = 7
"""Metrics side by side in a table."""


@dataclass(frozen=True)
class Tile:
    """A metric of the default model, beside the best other model's. ``on`` names the evaluation set, if there are
    several."""

    name: str
    measure: Measure | None
    best: str | None
    best_value: float | None
    lead: str
    on: str = ""


def metric_names(night: NightData) -> list[str]:
    """Names of the metrics on the evaluation set that is looked at, in the registry's order: those of which some model
    has a value."""
    found = (item for measures in night.measures.values() for item in measures.items())
    return in_order(name for name, measure in found if measure["value"] is not None)


def main_metrics(night: NightData) -> list[str]:
    """``leading`` of the night's metrics."""
    return leading(metric_names(night))


def leading(names: Iterable[str], most: int = TILES) -> list[str]:
    """The few that stand for all: the first of each kind in which models compete, by ``Metric.leading``."""
    first: dict[str, str] = {}
    for name in in_order(names):
        if direction(name):
            first.setdefault(kind_of(name), name)
    return in_order(sorted(first.values(), key=_leading)[:most])


def _leading(name: str) -> float:
    metric = find(name)
    return float("inf") if metric is None or metric.leading is None else metric.leading


def slice_metrics(night: NightData) -> list[str]:
    """Of the main ones, the first that separates and the last that ranks: slices show these two."""
    names = main_metrics(night)
    separating = [name for name in names if group_of(name) == "separation"]
    return in_order([*separating[:1], *[name for name in names if name not in separating][-1:]])


def model_order(measures: Measures, default_model: str) -> list[str]:
    """The default model first, then the others by the first leading metric, the best first."""
    names = leading(name for found in measures.values() for name in found)

    def key(model: str) -> tuple[bool, float, str]:
        known = value(measures, model, names[0]) if names else None
        side = direction(names[0]) if names else 1
        return model != default_model, -side * known if known is not None else float("inf"), model

    return sorted(measures, key=key)


def rank(measures: Measures, model: str, name: str) -> tuple[int, int] | None:
    """(rank, models): 1 for the best value of the metric, equal values share the better rank; None where the model has
    none, or the metric no better side."""
    found, side = values(measures, name), direction(name)
    if model not in found or not side:
        return None
    return 1 + sum(side * known > side * found[model] for known in found.values()), len(found)


def metric_tables(names: list[str]) -> list[list[str]]:
    """Metrics cut into tables that fit the page; a group is not parted unless it is too long itself."""
    found: list[list[str]] = [[]]
    for group in GROUPS:
        fresh = [name for name in names if group_of(name) == group]
        if len(found[-1]) + len(fresh) > COLUMNS:
            found.append([])
        for name in fresh:
            if len(found[-1]) == COLUMNS:
                found.append([])
            found[-1].append(name)
    return [table for table in found if table]


def tiles(night: NightData) -> list[Tile]:
    """One tile for each main metric, of each evaluation set."""
    most = TILES // len(night.evaluated) or 1
    return [
        Tile(
            name=name,
            measure=at.measures.get(night.default_model, {}).get(name),
            best=(best := best_other(at, name)),
            best_value=value(at.measures, best, name) if best else None,
            lead=lead(at, name),
            on=at.on.name if night.several else "",
        )
        for at in map(night.at, night.evaluated)
        for name in leading(metric_names(at), most)
    ]


def best_other(night: NightData, name: str) -> str | None:
    """The model, the default one apart, with the best value; None where the metric has no better side."""
    known, side = values(night.measures, name), direction(name)
    others = [model for model in known if model != night.default_model]
    return max(others, key=lambda model: (side * known[model], model), default=None) if side else None


def lead(night: NightData, name: str) -> str:
    """The default model against the best other one, by the paired interval of their difference: ``ahead``, ``behind``,
    or ``level`` when the interval holds 0; empty when there is nothing to compare."""
    found = night.differences.get(best_other(night, name) or "", {}).get(name)
    if not found or found["low"] is None:
        return ""
    if found["low"] <= 0 <= found["high"]:
        return "level"
    return "behind" if found["value"] * direction(name) > 0 else "ahead"


def best_value(night: NightData, name: str) -> float | None:
    """The best value that any model reached; None where the metric has no better side."""
    known, side = values(night.measures, name), direction(name)
    return side * max(side * found for found in known.values()) if side and known else None


def value(measures: Measures, model: str, name: str) -> float | None:
    """A model's value of a metric, None where there is none."""
    return values(measures, name).get(model)


def values(measures: Measures, name: str) -> dict[str, float]:
    """A metric of each model that has a value of it."""
    found = {model: known[name]["value"] for model, known in measures.items() if name in known}
    return {model: each for model, each in found.items() if each is not None}
