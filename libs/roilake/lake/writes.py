"""What a write of rows replaces, what it may hold, and who wrote it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties

from roilake.errors import LakeError
from roilake.lake.tables import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Run:
    """Who writes: recorded with every commit."""

    run_id: str
    pipeline: str
    ds: date
    step: str
    config_hash: str
    code_revision: str
    inputs: dict[str, int] = field(default_factory=dict)


def owned(
    table: Table, rows: DataFrame | pa.Table, where: dict[str, object], run: Run
) -> tuple[DataFrame | pa.Table, dict[str, object]]:
    """Rows and condition of a shared table, with the run's pipeline."""
    if not table.shared:
        return rows, where
    if isinstance(rows, pa.Table):
        others = rows.drop_columns(["pipeline"]) if "pipeline" in rows.column_names else rows
        marked = others.append_column("pipeline", pa.repeat(pa.scalar(run.pipeline), len(rows)))
    else:
        from pyspark.sql import functions as F

        marked = rows.withColumn("pipeline", F.lit(run.pipeline))
    return marked, {"pipeline": run.pipeline, **where}


def check_write(table: Table, rows: DataFrame | pa.Table, where: dict[str, object]) -> None:
    """Raises LakeError for missing columns, a bad ``where``, and (on this machine) rows outside of it."""
    names = rows.column_names if isinstance(rows, pa.Table) else rows.columns
    missing = [name for name in table.names if name not in names]
    if missing:
        raise LakeError(f"{table.name}: rows to write lack the columns {', '.join(missing)}")
    check_where(table, where)
    if isinstance(rows, pa.Table):
        outside = [name for name, value in where.items() if not _all_equal(rows[name], value)]
        if outside:
            raise LakeError(f"{table.name}: rows to write lie outside {where} in {outside[0]}")


def check_where(table: Table, where: dict[str, object]) -> None:
    """Raises LakeError unless ``where`` has ``ds`` and partition columns only."""
    if "ds" not in where or not set(where) <= set(table.partitions):
        raise LakeError(f"{table.name}: 'where' must name ds and may name {table.partitions} only, not {where}")


def properties(run: Run) -> CommitProperties:
    """The run as metadata of a commit."""
    metadata = json.dumps({**asdict(run), "ds": str(run.ds)}, sort_keys=True)
    return CommitProperties(custom_metadata={"userMetadata": metadata})


def _all_equal(column: pa.ChunkedArray, value: object) -> bool:
    return len(column) == 0 or pc.all(pc.equal(column, pa.scalar(value, column.type))).as_py() is True
