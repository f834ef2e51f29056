"""A Delta table on disk: which files make up a version, how a table is made, and how some of its files are replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema
from deltalake.transaction import AddAction

from roilake.lake.history import PROPERTIES
from roilake.lake.tables import Table
from roilake.lake.writes import Run, properties


class Active(NamedTuple):
    """A file of a version: its path in the table, partition values as text, rows and bytes."""

    path: str
    partition: dict[str, str]
    rows: int
    bytes: int


def active(delta: DeltaTable, wanted: Mapping[str, Collection[str]]) -> list[Active]:
    """The files of a version, of some values of some partition columns; from the log alone."""
    keys = delta.metadata().partition_columns
    files = (
        Active(add["path"], {key: str(add[f"partition.{key}"]) for key in keys}, add["num_records"], add["size_bytes"])
        for add in pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    )
    return [file for file in files if all(file.partition[name] in some for name, some in wanted.items())]


def written(file: AddAction) -> Active:
    """A file that no commit names yet; its rows are not counted."""
    return Active(file.path, {key: str(value) for key, value in file.partition_values.items()}, 0, file.size)


def ready(path: Path, table: Table) -> DeltaTable:
    """The table, made where it is missing, with the properties that keep its history and all columns; a lake of an
    older version of the code may have neither."""
    if not DeltaTable.is_deltatable(str(path)):
        _create(path, table)
    delta = DeltaTable(path)
    if not PROPERTIES.items() <= delta.metadata().configuration.items():
        delta.alter.set_table_properties(PROPERTIES)
    there = {field.name for field in delta.schema().fields}
    if missing := [field for field in _fields(table) if field.name not in there]:
        delta.alter.add_columns(missing)
    return delta


def _create(path: Path, table: Table) -> None:
    keys, schema = list(table.partitions), Schema(_fields(table))
    DeltaTable.create(path, schema, partition_by=keys, description=table.meaning, configuration=PROPERTIES)


def _fields(table: Table) -> list[Field]:
    stored = Schema.from_arrow(table.arrow_schema).fields
    return [
        Field(column.name, kept.type, nullable=column.nullable, metadata={"comment": column.meaning})
        for column, kept in zip(table.columns, stored, strict=True)
    ]


def replace(delta: DeltaTable, files: Sequence[AddAction], where: Mapping[str, str], run: Run) -> None:
    """Replace the files of these partition values, in one commit."""
    delta.create_write_transaction(
        [*files],
        mode="overwrite",
        schema=delta.schema(),
        partition_by=delta.metadata().partition_columns,
        partition_filters=[(name, "=", value) for name, value in where.items()],
        commit_properties=properties(run),
    )
