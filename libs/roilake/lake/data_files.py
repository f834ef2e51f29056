"""The parquet files of a table version, read without Spark: rows, counts and extremes. Memory is bounded by the largest
file, however long the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roilake.errors import LakeError
from roilake.lake.digests import digest
from roilake.lake.tables import TABLES, Column, Table

if TYPE_CHECKING:
    from roilake.lake.lake import Lake

Partition = tuple[tuple[str, str], ...]
"""Partition columns and their values, as text."""


@dataclass(frozen=True)
class DataFile:
    """One active parquet file of a table version. ``partition`` values are strings, as Delta keeps them."""

    path: str
    partition: dict[str, str]
    rows: int
    bytes: int


def read_file(file: DataFile, table: Table, columns: Iterable[str]) -> pa.Table:
    """Columns of one file, partition columns among them, in the types of the definition. Raises LakeError for one that
    is damaged."""
    stored = [name for name in columns if name not in file.partition]
    try:
        there = {*pq.read_schema(file.path).names}  # an older version of the code may not have known a column
        rows = pq.read_table(file.path, columns=[name for name in stored if name in there], partitioning=None)
    except pa.ArrowInvalid as error:
        raise LakeError(f"{file.path}: is damaged ({error}); restore it, or run its night again") from error
    arrays = {name: rows[name] if name in there else _nulls(file, table.column(name)) for name in stored}
    for name in columns:
        if name in file.partition:
            arrays[name] = (
                pa.array([file.partition[name]])
                .cast(table.column(name).arrow_type)
                .take(pa.array([0] * file.rows, pa.int32()))
            )
    return pa.table({name: arrays[name].cast(table.column(name).arrow_type) for name in columns})


def _nulls(file: DataFile, column: Column) -> pa.Array:
    """Raises LakeError for a column that may not be null."""
    if not column.nullable:
        raise LakeError(f"{file.path}: has no column {column.name!r}; run its night again")
    return pa.nulls(file.rows, column.arrow_type)


def content_of(files: Iterable[DataFile], table: Table) -> Counter[Partition]:
    """The digest of the rows of files, by partition; reads them."""
    stored, found = [name for name in table.names if name not in table.partitions], Counter[Partition]()
    for file in files:
        partition = tuple(sorted(file.partition.items()))
        found[partition] = (found[partition] + digest(read_file(file, table, stored))) % (1 << 64)
    return found


def count_by(
    lake: Lake, table: str, version: int, columns: Sequence[str], *, filters: Mapping[str, object]
) -> Counter[tuple[Any, ...]]:
    """Rows by the values of ``columns``. ``filters`` maps partition columns to a value or to several."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for file in lake.active_files(table, version, **filters):
        rows = read_file(file, TABLES[table], columns)
        for row in rows.group_by(list(columns)).aggregate([([], "count_all")]).to_pylist():
            counts[tuple(row[name] for name in columns)] += row["count_all"]
    return counts


def count_nulls(lake: Lake, table: str, version: int, *, filters: Mapping[str, object]) -> Counter[str]:
    """Nulls by column (those within lists and maps left out), from the files' footers; ``filters`` as above."""
    counts: Counter[str] = Counter()
    for file in lake.active_files(table, version, **filters):
        footer = pq.read_metadata(file.path)
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                column = footer.row_group(group).column(index)
                if column.statistics and "." not in column.path_in_schema:
                    counts[column.path_in_schema] += column.statistics.null_count or 0
    return counts


def extremes(
    lake: Lake, table: str, version: int, column: str, keys: Sequence[str], *, filters: Mapping[str, object]
) -> dict[tuple[str, ...], tuple[Any, Any]]:
    """Smallest and largest value of ``column`` by the partition columns ``keys``, from the files' footers (a row group
    without statistics is read); what has only nulls is left out. ``filters`` as above."""
    found: dict[tuple[str, ...], tuple[Any, Any]] = {}
    for file in lake.active_files(table, version, **filters):
        group = tuple(file.partition[key] for key in keys)
        for low, high in _group_extremes(file, column):
            before = found.get(group, (low, high))
            found[group] = min(before[0], low), max(before[1], high)
    return found


def _group_extremes(file: DataFile, column: str) -> Iterator[tuple[Any, Any]]:
    """(smallest, largest) value of each row group that has any, from its statistics or by reading it."""
    footer = pq.read_metadata(file.path)
    index = [footer.schema.column(k).path for k in range(len(footer.schema))].index(column)
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(index).statistics
        if statistics is not None and statistics.has_min_max:
            yield statistics.min, statistics.max
        else:
            rows = pq.ParquetFile(file.path).read_row_group(group, columns=[column])
            found = pc.min_max(rows[column]).as_py()
            if found["min"] is not None:
                yield found["min"], found["max"]
