"""Parquet files written by the tasks themselves, to be committed as one version by the driver.

Rows go from a task to its file, and only the file's name goes back. A task that fails or runs twice leaves files that
no commit names (VACUUM removes them). Commits are made by delta-rs: half a second less each than by the JVM, which on
small tables is most of their cost.

A file's name tells the digest of its rows, so that a commit knows, without reading anything, whether a rerun gave the
rows that there are."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from roilake.errors import LakeError
from roilake.lake.data_files import DataFile, Partition
from roilake.lake.delta import Active
from roilake.lake.digests import digest
from roilake.lake.tables import TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Make = Callable[[pa.Table], Iterable[tuple[str, pa.Table]]]
"""From the rows of one task to (table name, rows of that table), as often as there is more: each a row group of the
task's file for their partition values."""

TaskFiles = dict[str, list[AddAction]]
"""Files by table that tasks have written and no commit names yet."""

_ACTION = pa.schema(
    [(name, pa.string()) for name in ("table", "path", "values")] + [("rows", pa.int64()), ("size", pa.int64())]
)
_NAME = re.compile(r"part-(?P<digest>[0-9a-f]{16})-[0-9a-f-]{36}\.parquet")


_CHUNK = 1_000_000
"""Rows of a DataFrame that a task holds before it writes a row group."""


def write_rows(rows: DataFrame, table: Table, folder: Path) -> list[AddAction]:
    """Write a DataFrame that has the columns of ``table``: the rows of a task keep their order, in one file for each
    combination of partition values."""

    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        files = _Files(folder, table)
        for chunk in _chunks(batches):
            files.add(chunk)
        yield _described(files.close())

    return _run(rows, task).get(table.name, [])


def write_here(rows: pa.Table, table: Table, folder: Path) -> list[AddAction]:
    """Write rows that lie on this machine, as a task would."""
    files = _Files(folder, table)
    files.add(rows)
    return [_action(described) for described in files.close()]


def run_tasks(parts: DataFrame, make: Make, folder: Path) -> TaskFiles:
    """Run ``make`` on each partition of ``parts`` and write what it gives below ``folder``; the files by table."""

    definitions = dict(TABLES)  # travels with the task: where it runs, no pipeline need be loaded

    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        found = list(batches)
        files: dict[str, _Files] = {}
        for name, rows in make(pa.Table.from_batches(found)) if found else ():
            files.setdefault(name, _Files(folder, definitions[name])).add(rows)
        for some in files.values():
            yield _described(some.close())

    return _run(parts, task)


Task = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def _run(parts: DataFrame, task: Task) -> TaskFiles:
    """Run the task on each partition; the files that it describes, by table."""
    schema = "table string, path string, values string, rows long, size long"
    actions: TaskFiles = {}
    for row in parts.mapInArrow(task, schema).collect():
        actions.setdefault(row["table"], []).append(_action(row.asDict()))
    return actions


def _action(described: Mapping[str, Any]) -> AddAction:
    return AddAction(
        path=described["path"],
        size=described["size"],
        partition_values=json.loads(described["values"]),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": described["rows"]}),
    )


def digests(files: Iterable[Active | DataFile]) -> dict[Partition, int] | None:
    """The digest of the rows of files, by partition; None where a file's name tells none."""
    found: dict[Partition, int] = {}
    for file in files:
        named = _NAME.fullmatch(file.path.rsplit("/", 1)[-1])
        if named is None:
            return None
        partition = tuple(sorted(file.partition.items()))
        found[partition] = (found.get(partition, 0) + int(named["digest"], 16)) % (1 << 64)
    return found


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


@dataclass
class _Open:
    """A file that is being written: its partition's ``values``, and ``digest`` and number of its ``rows`` so far."""

    path: Path
    writer: pq.ParquetWriter
    values: dict[str, str]
    digest: int = 0
    rows: int = 0


class _Files:
    """The files that a task writes for a table: one for each combination of partition values, open until ``close``."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._folder, self._table = folder / table.name, table
        self._open: dict[str, _Open] = {}

    def add(self, rows: pa.Table) -> None:
        """Raises LakeError for a null in a column that is never null."""
        rows = rows.select(list(self._table.names)).cast(self._table.arrow_schema)
        check_nulls(self._table, rows)
        keys = list(self._table.partitions)
        combinations = rows.select(keys).group_by(keys).aggregate([]).to_pylist()
        for values in combinations:
            some = _matching(rows, values) if len(combinations) > 1 else rows
            self._write(values, some.drop_columns(keys))

    def _write(self, values: dict[str, object], rows: pa.Table) -> None:
        """Append a row group to the file of these partition values, which is made when it is missing."""
        partition = "/".join(f"{key}={value}" for key, value in values.items())
        if partition not in self._open:
            path = self._folder / partition / f"{uuid.uuid4()}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, rows.schema, **_options(self._table))
            self._open[partition] = _Open(path, writer, {key: str(value) for key, value in values.items()})
        file = self._open[partition]
        file.writer.write_table(rows)
        file.digest, file.rows = (file.digest + digest(rows)) % (1 << 64), file.rows + len(rows)

    def close(self) -> list[dict[str, object]]:
        """What was written: path, partition values, rows and bytes."""
        return [self._closed(file) for file in self._open.values()]

    def _closed(self, file: _Open) -> dict[str, object]:
        file.writer.close()
        path = file.path.with_name(f"part-{file.digest:016x}-{file.path.name}")
        file.path.rename(path)
        return {
            "table": self._table.name,
            "path": str(path.relative_to(self._folder)),
            "values": json.dumps(file.values),
            "rows": file.rows,
            "size": path.stat().st_size,
        }


def check_nulls(table: Table, rows: pa.Table) -> None:
    """Raises LakeError for a null in a column that is declared to have none."""
    for column in table.columns:
        nulls = 0 if column.nullable else rows[column.name].null_count
        if nulls:
            raise LakeError(f"{table.name}: {column.name!r} is null in {nulls} of {len(rows)} rows, and never may be")


def _options(table: Table) -> dict[str, Any]:
    """Keys repeat, so dictionaries pay even when they are large; a table names the columns that do better otherwise."""
    options: dict[str, Any] = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 26}
    if table.encodings:
        stored = [column for column in table.columns if column.name not in table.partitions]
        paths = {c.name: f"{c.name}.list.element" if c.type.endswith("[]") else c.name for c in stored}
        options["column_encoding"] = {paths[name]: encoding for name, encoding in table.encodings.items()}
        options["use_dictionary"] = [path for name, path in paths.items() if name not in table.encodings]
    return options


def _matching(rows: pa.Table, values: dict[str, object]) -> pa.Table:
    mask = pa.scalar(True)
    for key, value in values.items():
        mask = pc.and_(mask, pc.equal(rows[key], pa.scalar(value, rows[key].type)))
    return rows.filter(mask)
