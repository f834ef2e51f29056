"""How long the lake's past can be read.

What readers see of a night is its publication: a version of each table. These stay readable for good:

- The log of no table is cleaned (``delta.enableExpiredLogCleanup``, and ``delta.logRetentionDuration`` for whoever
  cleans it by hand). A checkpoint every 50 commits keeps an old version as near as the latest one.
- A night's rows lie in files of its own, which later nights leave alone. When a run replaces rows that a published
  night reads, their files first get a second name below ``_kept``, outside of every table's folder, where VACUUM does
  not look; a link, no copy. It goes when the night is published anew.
- Rows that are the same as before are not replaced at all. Where a table was compacted (OPTIMIZE, then VACUUM), a
  night's rows are read from its latest version, once they have been found to be the same.

All else ends with VACUUM, which by default takes what was replaced 30 days ago (see ``PROPERTIES``): rows of runs that
were never published, and of publications that a later run of their night has replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from roilake.lake.tables import TABLES, Table

KEPT = "_kept"
PROPERTIES = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.checkpointInterval": "50",
}
"""Of every table."""


def keep(lake: Path, table: Table, paths: Iterable[str]) -> None:
    """Give files of a table a second name, by which they outlast VACUUM."""
    for path in paths:
        source, target = lake / table.name / path, lake / KEPT / table.name / path
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        aside = target.with_name(f".{target.name}")
        shutil.copyfile(source, aside)
        os.replace(aside, target)


def drop_kept(lake: Path, pipeline: str, ds: date) -> None:
    """Let go of what was kept for a night that is published anew. Cumulative tables keep theirs: later nights read
    them too."""
    for folder in (lake / KEPT).glob("*"):
        table = TABLES.get(folder.name)
        if table is None or table.cumulative:
            continue
        own = {f"{name}={value}" for name, value in table.own(pipeline, ds).items()}
        for file in folder.rglob("*.parquet"):
            if own <= set(file.parts):
                file.unlink()
