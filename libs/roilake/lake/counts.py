"""Counts over a table's files, without Spark: memory is bounded by the largest file, however long the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from roilake.lake.lake import Lake, in_partitions, read_file
from roilake.lake.tables import TABLES


def count_by(
    lake: Lake, table: str, version: int, columns: Sequence[str], *, filters: Mapping[str, object]
) -> Counter[tuple[Any, ...]]:
    """Rows by the values of ``columns``. ``filters`` maps partition columns to a value or to several."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for file in lake.active_files(table, version):
        if in_partitions(file, filters):
            rows = read_file(file, TABLES[table], columns)
            for row in rows.group_by(list(columns)).aggregate([([], "count_all")]).to_pylist():
                counts[tuple(row[name] for name in columns)] += row["count_all"]
    return counts


def count_nulls(lake: Lake, table: str, version: int, *, filters: Mapping[str, object]) -> Counter[str]:
    """Nulls by column (those within lists and maps left out), from the files' footers; ``filters`` as above."""
    counts: Counter[str] = Counter()
    for file in lake.active_files(table, version):
        if in_partitions(file, filters):
            footer = pq.read_metadata(file.path)
            for group in range(footer.num_row_groups):
                for place in range(footer.num_columns):
                    column = footer.row_group(group).column(place)
                    if column.statistics and "." not in column.path_in_schema:
                        counts[column.path_in_schema] += column.statistics.null_count or 0
    return counts
