"""The default model's slices, grouped by what they are cut by, with those that moved most first."""

from __future__ import annotations

from dataclasses import dataclass, field

from roilake.report.changes import Change, slice_changes
from roilake.report.leaderboard import slice_metrics
from roilake.report.night import Measure, Night

BUILT_IN = {
    "cold_users": ("user history", "none"),
    "warm_users": ("user history", "some"),
    "head_items": ("item popularity", "most popular fifth"),
    "tail_items": ("item popularity", "the others"),
    "clicked": ("click", "clicked"),
    "unclicked": ("click", "not clicked"),
}
BINS = "calibration bin "


@dataclass(frozen=True)
class Slice:
    """One value of what a group is cut by; ``measures`` and ``changes`` by metric."""

    name: str
    group: str
    value: str
    measures: dict[str, Measure]
    changes: dict[str, Change] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return max((measure["n"] for measure in self.measures.values()), default=0)

    @property
    def strength(self) -> float:
        """Of its strongest change."""
        return max((change.strength for change in self.changes.values()), default=0.0)


Group = tuple[str, list[Slice]]
"""What slices are cut by, and the slices."""


def is_slice(name: str) -> bool:
    """Whether it is a group of requests, and not all of them, a difference, a bin or a leakage check."""
    return name != "all" and not name.startswith(("delta_vs_", "calibration bin ", "leakage_check"))


def group_and_value(name: str) -> tuple[str, str]:
    """What a slice is cut by, and its value there: ``gender=F`` is (gender, F)."""
    group, _, value = name.partition("=")
    return BUILT_IN.get(name, (group.replace("_", " "), value or "yes"))


def groups(night: Night, before: Night | None) -> list[Group]:
    """Groups of slices where the night is looked at, and slices within them, by their strongest change since
    ``before``; by name where there is none. Empty slices are left out."""
    found: dict[str, list[Slice]] = {}
    for one in filter(lambda one: one.n, _slices(night, before)):
        found.setdefault(one.group, []).append(one)
    order = sorted(found, key=lambda group: (-max(one.strength for one in found[group]), group))
    return [(group, sorted(found[group], key=lambda one: (-one.strength, one.name))) for group in order]


def _slices(night: Night, before: Night | None) -> list[Slice]:
    names, model = slice_metrics(night), night.default_model
    moved: dict[str, dict[str, Change]] = {}
    for change in slice_changes(before.metrics, night.metrics, model, night.place) if before else ():
        moved.setdefault(change.slice, {})[change.metric] = change
    return [
        Slice(
            name,
            *group_and_value(name),
            {metric: found[model][metric] for metric in names if metric in found[model]},
            {metric: change for metric, change in moved.get(name, {}).items() if metric in names},
        )
        for (split, name), found in sorted(night.metrics.items())
        if split == night.place.split and model in found and is_slice(name) and name not in night.place.slices
    ]


def calibration(night: Night) -> dict[str, list[tuple[float, Measure]]]:
    """(mean predicted probability, observed share) of each model's bins where the night is looked at, in order."""
    curves: dict[str, list[tuple[float, Measure]]] = {}
    for (split, name), models in sorted(night.metrics.items()):
        if split == night.place.split and name.startswith(BINS):
            for model, found in models.items():
                if found.get("predicted", {}).get("value") is not None and "observed" in found:
                    curves.setdefault(model, []).append((found["predicted"]["value"], found["observed"]))
    return curves
