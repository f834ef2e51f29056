"""A file -> ``points``."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import functions as F

from roilake.ingest import LATER, Budget, accounted, map_rows, read_source, take, with_reason
from roilake.lake import Lake
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from tests.toy.config import ToyConfig

COLUMNS = ("name", "time", "x", "y")


def run(lake: Lake, config: ToyConfig, ds: date) -> StepResult:
    """Every row ends in ``points``, in quarantine, or is later than the night."""
    with recorded(lake, config, ds, "ingest_points") as record:
        raw = read_source(lake.spark, config.points)
        expressions = {name: name for name in COLUMNS}
        rows = map_rows(
            raw,
            "points",
            "columns",
            expressions,
            identity="name",
            identified_by=(),
            required=COLUMNS,
            numbers=("x", "y"),
        )
        end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
        sound = with_reason(rows, COLUMNS, ())
        taken = take(sound, {LATER: F.col("time") >= end}, repeats=("name", "repeats a name"))
        with accounted(record, taken, Budget("intake", config.intake, {"points": config.points.path})) as points:
            record.write("points", points.select(F.lit(ds).alias("ds"), *COLUMNS).coalesce(1))
    return record.result


if __name__ == "__main__":
    main(run, "toy")
