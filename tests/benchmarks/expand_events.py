"""A night's source -> ``events`` of any number with its degree and popularity distributions, to try things at scale."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from roilake.errors import ConfigError, SourceError
from roilake.lake import Lake, Make
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import finished, night_rows, source_events
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from tests.benchmarks.expanding import Base, Expansion, degree_shape, expand_rows, read_base, rows_of_events
from tests.benchmarks.room import check_room

_ROW_GROUP, _FILE = 1_000_000, 8_000_000  # events


def run(lake: Lake, config: RetrievalConfig, ds: date, edges: int, force: bool = False) -> StepResult:
    """About ``edges`` events of the night at ``ds``, in place of all that it held. ``details`` compares the degree
    distributions before and after. Raises SourceError when the source has no event up to ``ds``,
    ConfigError where that many do not fit the machine, unless ``force``."""
    if not force:
        check_room(edges, lake.folder)
    with recorded(lake, config, ds, "expand_events") as record:
        rows = night_rows(source_events(lake.spark, config.source), ds)
        real = finished(lake.spark, rows.where(F.col("reason").isNull() & F.col("left_out").isNull()), config).toArrow()
        record.rows_in = len(real)
        if not record.rows_in:
            raise SourceError(f"{config.source.events.path}: has no event up to {ds}; choose a later --ds")
        expansion = Expansion.of(read_base(real), edges, config.seed, config.source.session_gap_minutes)
        groups = row_groups(expansion)
        record.progress(f"{expansion.rows} x {expansion.columns} blocks of {record.rows_in:,} real events")
        files = np.array_split(np.arange(len(groups)), max(1, round(edges / _FILE)))
        counts = lake.scratch("expand_events")
        for old in counts.glob("*.npz"):
            old.unlink()
        tasks = lake.spark.range(0, len(files), 1, len(files))
        make = _making(expansion, [[groups[i] for i in file] for file in files], ds, counts)
        record.write_from_tasks(("events",), tasks, make)
        record.details |= {"blocks": [expansion.rows, expansion.columns], "degrees": _shapes(expansion.base, counts)}
    return record.result


def row_groups(expansion: Expansion) -> list[range]:
    """Block rows that make up a row group each: they depend on the expansion only, not on the cut into files."""
    group = (np.cumsum(expansion.row_sizes()) // _ROW_GROUP).astype(np.int64)
    bounds = np.flatnonzero(np.diff(group, prepend=-1, append=group[-1] + 1))
    return [range(int(start), int(end)) for start, end in itertools.pairwise(bounds)]


def _making(expansion: Expansion, files: list[list[range]], ds: date, counts: Path) -> Make:
    def make(task: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        number = task["id"][0].as_py()
        items = np.zeros(expansion.base.items * expansion.columns, np.int64)
        users = []
        for rows in files[number]:
            some = expand_rows(expansion, rows)
            users.append(np.bincount(some.user_K - rows.start * expansion.base.users))
            items += np.bincount(some.item_K, minlength=len(items))
            events = rows_of_events(expansion, some)
            yield "events", events.append_column("ds", pa.repeat(pa.scalar(ds), len(events)))
        np.savez(counts / f"{number}.npz", users=np.concatenate(users), items=items)

    return make


def _shapes(base: Base, counts: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Degree distributions of users and items, real and expanded."""
    parts = [np.load(file) for file in sorted(counts.glob("*.npz"))]
    expanded = {"user": np.concatenate([p["users"] for p in parts]), "item": sum(p["items"] for p in parts)}
    real = {"user": np.bincount(base.user_N), "item": np.bincount(base.item_N)}
    return {
        kind: {"real": degree_shape(real[kind]), "expanded": degree_shape(np.asarray(expanded[kind]))} for kind in real
    }


def parse_edges(text: str) -> int:
    """``1e8`` or ``100000000``. Raises ConfigError."""
    try:
        edges = float(text)
    except ValueError:
        edges = 0.0
    if not 1e3 <= edges <= 1e10:
        raise ConfigError(f"--edges {text!r}: is no number of events from 1e3 to 1e10")
    return int(edges)


if __name__ == "__main__":
    main(run, "retrieval", flags=("force",), edges=parse_edges)
