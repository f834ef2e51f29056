"""Where the default model stands among the others of its night, by the paired intervals of their differences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from roilake.report.formatting import direction, group_of, in_order, kind_of
from roilake.report.night import Measure, Measures, Night

TILES = 4
WANTED = ["auc", "ctcvr_auc", "auc_popularity_negatives", "hit_rate", "ndcg", "recall"]


@dataclass(frozen=True)
class Tile:
    """A metric of the default model, beside the best other model's. ``place`` names where, if there are several."""

    name: str
    measure: Measure | None
    best: str | None
    best_value: float | None
    lead: str
    place: str = ""


def metric_names(night: Night) -> list[str]:
    """Names of the metrics where the night is looked at, in the order of ``words``."""
    return in_order(name for found in night.measures.values() for name in found)


def main_metrics(night: Night) -> list[str]:
    """``leading`` of the night's metrics."""
    return leading(metric_names(night))


def leading(names: Iterable[str], most: int = TILES) -> list[str]:
    """The few that stand for all: the first of each kind in which models compete, how well they rank before how well
    they are calibrated."""
    first: dict[str, str] = {}
    for name in in_order(names):
        if direction(name):
            first.setdefault(kind_of(name), name)
    order = sorted(first, key=lambda kind: WANTED.index(kind) if kind in WANTED else len(WANTED))
    return in_order(first[kind] for kind in order[:most])


def slice_metrics(night: Night) -> list[str]:
    """Of the main ones, the first that separates and the last that ranks: slices show these two."""
    names = main_metrics(night)
    separating = [name for name in names if group_of(name) == "separation"]
    return in_order([*separating[:1], *[name for name in names if name not in separating][-1:]])


def model_order(night: Night) -> list[str]:
    """The default model first, then the others by the first main metric, the best first."""
    names = main_metrics(night)

    def place(model: str) -> tuple[bool, float, str]:
        known = value(night.measures, model, names[0]) if names else None
        side = direction(names[0]) if names else 1
        return model != night.default_model, -side * known if known is not None else float("inf"), model

    return sorted(night.measures, key=place)


def tiles(night: Night) -> list[Tile]:
    """One tile for each main metric, of each place that models are judged at."""
    several, most = len(night.places) > 1, TILES // len(night.places)
    return [
        Tile(
            name=name,
            measure=at.measures.get(night.default_model, {}).get(name),
            best=(best := best_other(at, name)),
            best_value=value(at.measures, best, name) if best else None,
            lead=lead(at, name),
            place=at.place.name if several else "",
        )
        for at in map(night.at, night.places)
        for name in leading(metric_names(at), most)
    ]


def best_other(night: Night, name: str) -> str | None:
    """The model, the default one apart, with the best value; None where the metric has no better side."""
    known = {
        model: direction(name) * found
        for model in night.measures
        if model != night.default_model and (found := value(night.measures, model, name)) is not None
    }
    return max(known, key=lambda model: (known[model], model), default=None) if direction(name) else None


def lead(night: Night, name: str) -> str:
    """Where the default model stands against the best other one, by the paired interval of their difference:
    ``ahead``, ``behind``, or ``level`` when the interval holds 0; empty when there is nothing to compare."""
    found = night.differences.get(best_other(night, name) or "", {}).get(name)
    if not found or found["low"] is None:
        return ""
    if found["low"] <= 0 <= found["high"]:
        return "level"
    return "behind" if found["value"] * direction(name) > 0 else "ahead"


def best_value(night: Night, name: str) -> float | None:
    """The best value that any model reached; None where the metric has no better side."""
    values = [found for model in night.measures if (found := value(night.measures, model, name)) is not None]
    side = direction(name)
    return side * max((side * found for found in values), default=0.0) if side and values else None


def value(measures: Measures, model: str, name: str) -> float | None:
    """A model's value of a metric, None where there is none."""
    found: float | None = measures.get(model, {}).get(name, {}).get("value")
    return found
