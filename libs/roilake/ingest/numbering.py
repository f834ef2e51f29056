"""Rows by number, where no task sees all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.lake.session import cached


@contextmanager
def numbered(rows: DataFrame, name: str, *order: str) -> Iterator[DataFrame]:
    """Rows with column ``name``: 0, 1, ... in the order of columns whose values differ. No task sees all rows. Spark
    keeps what they are made of, and them where they are read, while the block lasts."""
    ranges = rows.repartitionByRange(*order).withColumn("range", F.spark_partition_id())
    with cached(ranges) as ranges:
        counts = {row["range"]: row["count"] for row in ranges.groupBy("range").count().collect()}
        starts, total = {}, 0
        for part in sorted(counts):
            starts[part], total = total, total + counts[part]
        start = F.create_map(*(F.lit(value) for pair in (starts or {0: 0}).items() for value in pair))
        place = F.row_number().over(Window.partitionBy("range").orderBy(*order)) - 1
        number = (start[F.col("range")] + place).cast("int")
        with cached(ranges.select(number.alias(name), *rows.columns)) as made:
            yield made
