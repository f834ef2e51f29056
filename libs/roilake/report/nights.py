"""All nights of a lake at a glance: what each did, and whether readers see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.metrics.champion import champion_of
from roilake.report.formatting import duration, number, plain
from roilake.report.night import Row
from roilake.report.serving import serving
from roilake.runtime.pipeline import PUBLISH
from roilake.runtime.registry import find, pipelines

_SUMS = ("seconds", "rows_out", "rows_quarantined", "rows_later", "bytes")


def run_rows(lake: Lake, ds: date | None = None, last: int | None = None, pipeline: str | None = None) -> list[Row]:
    """The rows of ``runs`` of all pipelines or one, of one date or of the last so many nights, by night and by step in
    the order of a night. Raises LakeError for a night that never ran, ConfigError for an unknown pipeline."""
    if pipeline is not None:
        find(pipeline)
    version = lake.version("runs")
    files = [file.partition for file in lake.active_files("runs", version) if file.rows]
    known = {(date.fromisoformat(f["ds"]), f["pipeline"]) for f in files if pipeline in (None, f["pipeline"])}
    if ds is not None and ds not in {night for night, _ in known}:
        of = f" of {pipeline}" if pipeline else ""
        raise LakeError(f"{lake.path}: no night {ds}{of} has run; {nearest(ds, [night for night, _ in known])}")
    wanted = {night for night in known if night[0] == ds} if ds else set(sorted(known)[-last:] if last else known)
    rows = lake.to_arrow("runs", version, filters={"ds": [night for night, _ in wanted]}).to_pylist()
    return sorted((row for row in rows if _night(row) in wanted), key=lambda row: (*_night(row), _order(row)))


def _night(row: Row) -> tuple[date, str]:
    return row["ds"], row["pipeline"]


def _order(row: Row) -> tuple[int, str]:
    """Position of a step in its pipeline's night; steps that nobody knows any more come last."""
    pipeline = pipelines().get(row["pipeline"])
    names = pipeline.step_names if pipeline else ()
    return names.index(row["step"]) if row["step"] in names else len(names), row["step"]


def publications(lake: Lake, pipeline: str | None) -> list[Publication]:
    """All published nights, or those of a pipeline, the latest last. Raises ConfigError for an unknown pipeline."""
    return lake.publications(find(pipeline).name if pipeline is not None else None)


def served(lake: Lake, ds: date, pipeline: str | None) -> list[Text]:
    """Who serves a published night, in a sentence for each pipeline that chose."""
    champions = [champion_of(lake, night) for night in publications(lake, pipeline) if night.ds == ds]
    return [Text(plain(serving(champion))) for champion in champions if champion.metric]


def nearest(ds: date, known: Iterable[date], count: int = 5) -> str:
    """Names the nights nearest to one that is not there."""
    close = sorted(sorted(set(known), key=lambda other: abs((other - ds).days))[:count])
    return f"the nearest are {', '.join(map(str, close))}" if close else "there is none yet"


def nights(rows: Sequence[Row], published: Sequence[Publication]) -> list[dict[str, Any]]:
    """One object per night: ``pipeline, ds, run_id, status, published, steps, seconds, rows_out, rows_quarantined,
    rows_later, bytes``. ``published`` is the run id that readers see, null where there is none: after a failed rerun it
    is another than ``run_id``. ``status`` is the worst of the steps', ``incomplete`` for a night that ended before
    publishing."""
    seen = {(night.ds, night.pipeline): night.run_id for night in published}
    found = groupby(sorted(rows, key=_night), key=_night)
    return [_summed(*night, list(steps), seen.get(night)) for night, steps in found]


def _summed(ds: date, pipeline: str, steps: list[Row], published: str | None) -> dict[str, Any]:
    """The object of one night (see ``nights``); ``published`` is the run id that readers see."""
    failed = any(row["status"] != "succeeded" for row in steps)
    complete = any(row["step"] == PUBLISH for row in steps)
    return {
        "pipeline": pipeline,
        "ds": str(ds),
        "run_id": steps[-1]["run_id"],
        "status": "failed" if failed else "succeeded" if complete else "incomplete",
        "published": published,
        "steps": len(steps),
        **{name: round(sum(row[name] for row in steps), 1 if name == "seconds" else None) for name in _SUMS},
    }


def steps(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One object per step: its row of ``runs`` with the texts that hold JSON read."""
    read = ("inputs", "outputs", "upstreams", "details")
    return [{**row, "ds": str(row["ds"]), **{name: json.loads(row[name] or "{}") for name in read}} for row in rows]


def nights_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Nights, the latest last."""
    names = ("night", "pipeline", "run", "status", "seen", "#time", "#rows out", "#rejected")
    table = plain_table("Nights", *names, fold=("pipeline", "#time"))
    for night in found:
        seen = "yes" if night["published"] == night["run_id"] else night["published"] or "no"
        table.add_row(
            night["ds"], night["pipeline"], night["run_id"], night["status"], seen, duration(night["seconds"]),
            number(night["rows_out"]), number(night["rows_quarantined"]),
            style=None if night["published"] == night["run_id"] else "bold red",
        )  # fmt: skip
    return table


def steps_table(ds: date, found: Sequence[Mapping[str, Any]]) -> Table:
    """The steps of one night, or of the nights that several pipelines had that day."""
    runs = ", ".join(dict.fromkeys(f"run {step['run_id']} of {step['pipeline']}" for step in found))
    names = ("step", "status", "#time", "#rows in", "#rows out", "#rejected", "wrote versions")
    table = plain_table(f"Night of {ds}, {runs}", *names, fold=("wrote versions",))
    for before, step in zip((None, *found), found, strict=False):
        if before and before["pipeline"] != step["pipeline"]:
            table.add_section()
        written = ", ".join(f"{name} {version}" for name, version in sorted(step["outputs"].items()))
        table.add_row(
            step["step"], step["status"], duration(step["seconds"]), number(step["rows_in"]),
            number(step["rows_out"]), number(step["rows_quarantined"]), written,
            style=None if step["status"] == "succeeded" else "bold red",
        )  # fmt: skip
    return table


class PlainTable(Table):
    """A table whose texts are shown as they are: brackets and colons are no markup."""

    def add_row(self, *cells: Any, style: Any = None, end_section: bool = False) -> None:
        texts = [Text(plain(cell)) if isinstance(cell, str) else cell for cell in cells]
        super().add_row(*texts, style=style, end_section=end_section)


def plain_table(title: str, *columns: str, fold: Sequence[str]) -> PlainTable:
    """Columns parted by a blank. ``#`` marks one of numbers; those of ``fold`` break over lines where the others, which
    are never cut, leave no room."""
    table = PlainTable(title=escape(title), box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        name, right = Text(column.removeprefix("#")), column.startswith("#")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=column not in fold)
    return table
