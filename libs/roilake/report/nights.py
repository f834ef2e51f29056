"""All nights of a lake at a glance: what each did, and whether readers see it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich import box
from rich.table import Table

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.report.formatting import duration, number, size
from roilake.report.night import Row
from roilake.runtime.kinds import JOBS


def run_rows(lake: Lake, ds: date | None = None, last: int | None = None) -> list[Row]:
    """The rows of ``runs``, of one night or of the last so many, by night and by job in the order of a night.
    Raises LakeError for a night that never ran."""
    version = lake.version("runs")
    known = sorted(
        {date.fromisoformat(f.partition["ds"]) for f in lake.active_files("runs", version) if f.rows}
    )
    if ds is not None and ds not in known:
        raise LakeError(f"{lake.path}: no night {ds} has run; {nearest(ds, known)}")
    wanted = [ds] if ds is not None else known[-last:] if last else known
    rows = lake.to_arrow("runs", version, filters={"ds": wanted}).to_pylist()
    return sorted(rows, key=lambda row: (row["ds"], _place(row), row["job"]))


def _place(row: Row) -> int:
    """The order of the jobs of a night; publishing comes last."""
    return JOBS.index(row["job"]) if row["job"] in JOBS else len(JOBS)


def nearest(ds: date, known: Sequence[date], count: int = 5) -> str:
    """Words that name the nights nearest to one that is not there."""
    close = sorted(sorted(known, key=lambda other: abs((other - ds).days))[:count])
    return f"the nearest are {', '.join(map(str, close))}" if close else "there is none yet"


def nights(rows: Sequence[Row], published: Mapping[date, Publication]) -> list[dict[str, Any]]:
    """One object per night: ``ds, run_id, status, published, jobs, seconds, rows_out, rows_quarantined, bytes``.
    ``published`` is the run id that readers see, null where there is none: after a failed rerun it is another than
    ``run_id``. ``status`` is the worst of the jobs', ``incomplete`` for a night that ended before publishing."""
    found: dict[date, list[Row]] = {}
    for row in rows:
        found.setdefault(row["ds"], []).append(row)
    return [_night(ds, jobs, published.get(ds)) for ds, jobs in sorted(found.items())]


def _night(ds: date, jobs: list[Row], publication: Publication | None) -> dict[str, Any]:
    ended = {row["job"]: row for row in jobs}
    failed = any(row["status"] != "succeeded" for row in jobs)
    sums = ("seconds", "rows_out", "rows_quarantined", "bytes")
    return {
        "ds": str(ds),
        "run_id": jobs[-1]["run_id"],
        "status": "failed" if failed else "succeeded" if "publish_night" in ended else "incomplete",
        "published": publication.run_id if publication else None,
        "jobs": len(jobs),
        **{name: round(sum(row[name] for row in jobs), 1 if name == "seconds" else None) for name in sums},
    }


def jobs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One object per job: its row of ``runs`` with the texts that hold JSON read."""
    read = ("inputs", "outputs", "details")
    return [
        {**row, "ds": str(row["ds"]), **{name: json.loads(row[name] or "{}") for name in read}}
        for row in rows
    ]


def nights_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Nights, the latest last."""
    table = _table(
        "Nights", "night", "run", "status", "published", "#jobs", "#time", "#rows out", "#rejected", "#bytes"
    )
    for night in found:
        seen = "yes" if night["published"] == night["run_id"] else night["published"] or "no"
        table.add_row(
            night["ds"], night["run_id"], night["status"], seen, str(night["jobs"]), duration(night["seconds"]),
            number(night["rows_out"]), number(night["rows_quarantined"]), size(night["bytes"]),
            style=None if night["published"] == night["run_id"] else "bold red",
        )  # fmt: skip
    return table


def jobs_table(ds: date, found: Sequence[Mapping[str, Any]]) -> Table:
    """The jobs of one night."""
    title = f"Night of {ds}, run {found[-1]['run_id']}"
    table = _table(
        title, "job", "status", "#time", "#rows in", "#rows out", "#rejected", "#bytes", "wrote versions"
    )
    for job in found:
        written = ", ".join(f"{name} {version}" for name, version in sorted(job["outputs"].items()))
        table.add_row(
            job["job"], job["status"], duration(job["seconds"]), number(job["rows_in"]), number(job["rows_out"]),
            number(job["rows_quarantined"]), size(job["bytes"]), written,
            style=None if job["status"] == "succeeded" else "bold red",
        )  # fmt: skip
    return table


def _table(title: str, *columns: str) -> Table:
    """``#`` marks a column of numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in columns:
        right, last = column.startswith("#"), column == columns[-1]
        table.add_column(column.removeprefix("#"), justify="right" if right else "left", no_wrap=not last)
    return table
