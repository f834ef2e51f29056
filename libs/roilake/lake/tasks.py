"""Parquet files written by the tasks themselves, to be committed as one version by the driver.

Rows go from a task to its file, and only the file's name goes back. A task that fails or runs twice leaves files
that no commit names (VACUUM removes them). Commits are made by delta-rs: half a second less each than by the JVM,
which on small tables is most of their cost.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyspark.sql import DataFrame

from roilake.lake.tables import TABLES, Table

Make = Callable[[pa.Table], Iterable[tuple[str, pa.Table]]]
"""From the rows of one task to (table name, rows of that table), as often as there is more."""

_ACTION = pa.schema(
    [(name, pa.string()) for name in ("table", "path", "values")]
    + [("rows", pa.int64()), ("size", pa.int64())]
)


_CHUNK = 1_000_000
"""Rows of a DataFrame that a task holds before it writes a file."""


def write_rows(rows: DataFrame, table: Table, folder: Path) -> list[AddAction]:
    """Write a DataFrame that has the columns of ``table``."""

    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for chunk in _chunks(batches):
            yield _described(_write(folder, table, chunk))

    return _run(rows, task).get(table.name, [])


def run_tasks(parts: DataFrame, make: Make, folder: Path) -> dict[str, list[AddAction]]:
    """Run ``make`` on each partition of ``parts`` and write what it gives below ``folder``; the files by table."""

    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        found = list(batches)
        if found:
            for name, rows in make(pa.Table.from_batches(found)):
                yield _described(_write(folder, TABLES[name], rows))

    return _run(parts, task)


Task = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def _run(parts: DataFrame, task: Task) -> dict[str, list[AddAction]]:
    schema = "table string, path string, values string, rows long, size long"
    actions: dict[str, list[AddAction]] = {}
    for row in parts.mapInArrow(task, schema).collect():
        action = AddAction(
            path=row["path"],
            size=row["size"],
            partition_values=json.loads(row["values"]),
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": row["rows"]}),
        )
        actions.setdefault(row["table"], []).append(action)
    return actions


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(len(some) for some in held) >= _CHUNK:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _described(files: Iterable[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(files), schema=_ACTION)


def _write(folder: Path, table: Table, rows: pa.Table) -> Iterator[dict[str, object]]:
    """One file for each combination of partition values in ``rows``."""
    rows = rows.select(list(table.names)).cast(table.arrow_schema)
    keys = list(table.partitions)
    for values in rows.select(keys).group_by(keys).aggregate([]).to_pylist():
        mask = pa.scalar(True)
        for key, value in values.items():
            mask = pc.and_(mask, pc.equal(rows[key], pa.scalar(value, rows[key].type)))
        some = rows.filter(mask).drop_columns(keys)
        path = "/".join(
            [*(f"{key}={value}" for key, value in values.items()), f"part-{uuid.uuid4()}.parquet"]
        )
        file = folder / table.name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(some, file, compression="zstd")
        texts = {key: str(value) for key, value in values.items()}
        yield {
            "table": table.name,
            "path": path,
            "values": json.dumps(texts),
            "rows": len(some),
            "size": file.stat().st_size,
        }
