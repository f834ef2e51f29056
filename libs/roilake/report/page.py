"""Renders a night's report: one HTML page that holds its own style and pictures and asks no network for
anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from roilake.report import costs, formatting, leaderboard, quality, slices
from roilake.report.changes import Change, changes
from roilake.report.data import ReportData
from roilake.report.headline import headline
from roilake.report.night import Night
from roilake.report.pictures import pictures

SHOWN = 20
"""Slices that are shown at once; the others unfold."""
COLUMNS = 7
"""Metrics side by side in a table."""


def write_page(contents: ReportData, path: Path) -> None:
    """Write the page aside and rename it, so that a reader never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(render(contents))
    os.replace(aside, path)


def render(contents: ReportData) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("roilake.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters = ("number", "signed", "label", "size", "duration", "percent", "plural")
    environment.filters |= {name: getattr(formatting, name) for name in filters}
    night, other = contents.night, contents.since or contents.before
    return environment.get_template("page.html.j2").render(
        c=contents,
        night=night,
        other=other,
        headline=headline(contents),
        gates=sorted(night.gates, key=lambda gate: gate["passed"]),
        pictures=pictures(contents),
        compared=[
            (earlier, [(place, change_rows(night.at(place), earlier.at(place))) for place in night.places])
            for earlier in contents.others
        ],
        notes=formatting.NOTES[night.kind.name],
        **_models(night),
        **_slices(night, other),
        **_data(night, other),
        **_costs(night, contents.before),
    )


def _models(night: Night) -> dict[str, Any]:
    return {"tiles": leaderboard.tiles(night), "stands": [_stand(night.at(place)) for place in night.places]}


def _stand(night: Night) -> dict[str, Any]:
    """The models where the night is looked at."""
    names = leaderboard.metric_names(night)
    return {
        "place": night.place,
        "measures": night.measures,
        "models": leaderboard.model_order(night),
        "tables": metric_tables(names) if names else [],
        "best": {name: leaderboard.best_value(night, name) for name in names},
    }


def metric_tables(names: list[str]) -> list[list[str]]:
    """Metrics cut into tables that fit the page; a group is not parted unless it is too long itself."""
    tables: list[list[str]] = [[]]
    for group in formatting.GROUPS:
        fresh = [name for name in names if formatting.group_of(name) == group]
        if len(tables[-1]) + len(fresh) > COLUMNS:
            tables.append([])
        for name in fresh:
            if len(tables[-1]) == COLUMNS:
                tables.append([])
            tables[-1].append(name)
    return [table for table in tables if table]


def change_rows(night: Night, before: Night) -> list[dict[str, Any]]:
    """Each metric's change of the default model, and how many of the other models moved beyond noise, up or down."""
    found = changes(before.measures, night.measures)
    return [
        {"own": own, "others": _moves([c for c in found if c.metric == own.metric and c is not own])}
        for own in found
        if own.model == night.default_model
    ]


def _moves(others: list[Change]) -> str:
    up = sum(change.beyond and change.value > 0 for change in others)
    down = sum(change.beyond and change.value < 0 for change in others)
    parts = [f"{count} {way}" for count, way in ((up, "up"), (down, "down")) if count]
    return (
        f"{formatting.listed(parts)} of {len(others)}"
        if parts
        else f"none of {len(others)}"
        if others
        else "–"
    )


def _slices(night: Night, other: Night | None) -> dict[str, Any]:
    names, groups = leaderboard.slice_metrics(night), slices.groups(night, other)
    shown, folded = unfolded(groups)
    found, first = ([one for _, group in part for one in group] for part in (groups, shown))
    told = [change for one in found for change in one.changes.values() if change.verdict != "unknown"]
    return {
        "slice_names": names,
        "slice_groups": (shown, folded),
        "slice_count": len(found),
        "slice_moves": (sum(change.beyond for change in told), len(told)),
        "scales": {name: scale(night, first, name) for name in names},
    }


def unfolded(groups: list[slices.Group]) -> tuple[list[slices.Group], list[slices.Group]]:
    """Groups to show at once, the first and what else there is room for, and the others, which unfold."""
    shown, room = groups[:1], SHOWN - sum(len(found) for _, found in groups[:1])
    folded: list[slices.Group] = []
    for group, found in groups[1:]:
        fits = len(found) <= room
        (shown if fits else folded).append((group, found))
        room -= len(found) if fits else 0
    return shown, folded


def scale(night: Night, found: list[slices.Slice], name: str) -> dict[str, float]:
    """The common axis of a column of small plots: its left end, its width, and the value of all requests there. It
    holds the values of the slices shown at once; what lies beyond is drawn at its end."""
    whole = leaderboard.value(night.measures, night.default_model, name)
    values = [one.measures[name]["value"] for one in found if name in one.measures]
    known = [value for value in [*values, whole] if value is not None] or [0.0]
    margin = 0.25 * (max(known) - min(known)) or 0.05
    mark = whole if whole is not None else min(known)
    return {"low": min(known) - margin, "width": max(known) - min(known) + 2 * margin, "mark": mark}


def _data(night: Night, other: Night | None) -> dict[str, Any]:
    return {
        "table_counts": quality.table_counts(night, other),
        "graph_counts": quality.graph_counts(night, other),
        "came_in": quality.came_in(night),
        "teachers": quality.teachers(night),
    }


def _costs(night: Night, before: Night | None) -> dict[str, Any]:
    times = costs.times(night, before)
    return {
        "roi": costs.amortisation(night),
        "times": times,
        "slowest": max((max(time.seconds, time.meant or 0) for time in times), default=1) or 1,
        "seconds": sum(time.seconds for time in times),
        "meant": sum(time.meant for time in times if time.meant is not None),
        "planned": any(time.planned for time in times),
        "wait": costs.waiting(night),
    }
