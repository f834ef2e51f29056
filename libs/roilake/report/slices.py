"""The default model's slices, grouped by what they are cut by, with those that moved most first."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from roilake.metrics.slices import BINS, is_group
from roilake.report import leaderboard
from roilake.report.changes import Change, slice_changes
from roilake.report.formatting import plain
from roilake.report.night import Measure, NightData
from roilake.report.section import Texts

SHOWN = 20
"""Slices that are shown at once; the others unfold."""
LONGEST = 60
"""Characters of a value."""


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


def group_and_value(name: str, texts: Texts) -> tuple[str, str]:
    """What a slice is cut by, and its value there, a long one shortened: ``gender=F`` is (gender, F)."""
    group, _, value = name.partition("=")
    return texts.slice_names.get(name, (group.replace("_", " "), plain(value, LONGEST) or "yes"))


def groups(night: NightData, before: NightData | None) -> list[Group]:
    """Groups of slices on the evaluation set that is looked at, and slices within them, by their strongest change since
    ``before``; by numbers and name where there is none. Empty slices are left out."""
    found: dict[str, list[Slice]] = {}
    for one in filter(lambda one: one.n, _slices(night, before)):
        found.setdefault(one.group, []).append(one)
    order = sorted(found, key=lambda group: (-max(one.strength for one in found[group]), group))
    return [
        (group, sorted(found[group], key=lambda one: (-one.strength, _numbers(one.value), one.name))) for group in order
    ]


def _numbers(value: str) -> list[float]:
    """Those in a value: ``4 to 15`` comes before ``16 and more``."""
    return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", value)]


def _slices(night: NightData, before: NightData | None) -> list[Slice]:
    """The default model's slices on the set that is looked at, with their changes since ``before``."""
    names, model = leaderboard.slice_metrics(night), night.default_model
    moved: dict[str, dict[str, Change]] = {}
    for change in slice_changes(before.metrics, night.metrics, model, night.on) if before else ():
        moved.setdefault(change.slice, {})[change.metric] = change
    return [
        Slice(
            name,
            *group_and_value(name, night.texts),
            {metric: found[model][metric] for metric in names if metric in found[model]},
            {metric: change for metric, change in moved.get(name, {}).items() if metric in names},
        )
        for (split, name), found in sorted(night.metrics.items())
        if split == night.on.split and model in found and is_group(name) and name not in night.on.slices
    ]


def calibration(night: NightData) -> dict[str, list[tuple[float, Measure]]]:
    """(mean predicted probability, observed share) of each model's bins on the set that is looked at, in order."""
    curves: dict[str, list[tuple[float, Measure]]] = {}
    for (split, name), models in sorted(night.metrics.items()):
        if split == night.on.split and name.startswith(BINS):
            for model, found in models.items():
                if found.get("predicted", {}).get("value") is not None and "observed" in found:
                    curves.setdefault(model, []).append((found["predicted"]["value"], found["observed"]))
    return curves


def unfolded(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """Groups to show at once, the first and those that still fit, and the others, which unfold."""
    shown, free = groups[:1], SHOWN - sum(len(found) for _, found in groups[:1])
    folded: list[Group] = []
    for group, found in groups[1:]:
        fits = len(found) <= free
        (shown if fits else folded).append((group, found))
        free -= len(found) if fits else 0
    return shown, folded


def scale(night: NightData, found: list[Slice], name: str) -> dict[str, float]:
    """The common axis of a column of small plots: its left end, its width, and the value of the whole set there. It
    holds the values of the slices shown at once; what lies beyond is drawn at its end."""
    whole = leaderboard.value(night.measures, night.default_model, name)
    values = [one.measures[name]["value"] for one in found if name in one.measures]
    known = [value for value in [*values, whole] if value is not None] or [0.0]
    margin = 0.25 * (max(known) - min(known)) or 0.05
    mark = whole if whole is not None else min(known)
    return {"low": min(known) - margin, "width": max(known) - min(known) + 2 * margin, "mark": mark}
