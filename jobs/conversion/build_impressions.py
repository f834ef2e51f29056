"""Raw log of impressions, or a generated one -> the impressions that a night looks at; rejected rows -> quarantine."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.impressions.ingest import (
    finished_impressions,
    judged_impressions,
    seen_by_night,
    with_split,
)
from roilake.pipelines.conversion.impressions.truth_rows import Generator, generated_rows
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, Recorder, recorded

JOB = "build_impressions"


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write the night's ``impressions``, whole: a conversion that came in late changes its row. A generated log also
    gives ``conversion_truth``. Raises AuditError, after writing ``quarantine``, when the share of rejected rows is
    above ``impressions.quarantine_budget``."""
    with recorded(lake, config, ds, JOB) as record:
        rows = _rows(record, config).persist()
        try:
            _judge(record, rows, config)
            sound = rows.where(F.col("reason").isNull() & F.col("left_out").isNull())
            impressions = finished_impressions(sound, config.impressions.shards, config.seed, ds)
            record.write("impressions", impressions)
            if config.impressions.truth:
                written = record.rows_out
                record.write("conversion_truth", _truth(sound, ds))
                record.rows_out = written  # it is about the same rows
        finally:
            rows.unpersist()
    return record.result


def _rows(record: Recorder, config: ConversionConfig) -> DataFrame:
    """All rows, each with its split, ``reason`` and ``left_out``."""
    spark, ds, told = record.lake.spark, record.run.ds, config.impressions
    randomly: DataFrame | None = None
    if told.truth:
        generator = Generator.of(spark, told.truth, config.seed)
        record.progress(f"a truth of {len(generator.users):,} users and {len(generator.items):,} items")
        log = generated_rows(spark, generator, told)
        randomly = generated_rows(spark, generator, told, random=ds)
    else:
        assert told.source is not None  # the config has one of the two
        log = judged_impressions(spark, told, told.source, ds, random=False)
        if told.unbiased:
            randomly = judged_impressions(spark, told, told.unbiased, ds, random=True)
    rows = with_split(seen_by_night(log, told, ds), told, config.seed)
    if randomly is None:
        return rows
    timed = told.unbiased is not None and told.unbiased.columns.time is not None
    unknown = F.lit(timed) & F.col("left_out").isin("after the night", "too young")
    drawn = seen_by_night(randomly, told, ds).withColumn("left_out", F.when(unknown, F.col("left_out")))
    return rows.unionByName(drawn.withColumn("split", F.lit("unbiased")), allowMissingColumns=True)


def _judge(record: Recorder, rows: DataFrame, config: ConversionConfig) -> None:
    counts = rows.groupBy("reason", "left_out", "split").count().collect()

    def summed(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in counts:
            if row[name] is not None:
                found[row[name]] = found.get(row[name], 0) + row["count"]
        return dict(sorted(found.items()))

    rejected, left_out = summed("reason"), summed("left_out")
    record.rows_in = sum(row["count"] for row in counts) - sum(left_out.values())
    record.rows_quarantined = sum(rejected.values())
    record.details |= {"rejected": rejected, "left_out": left_out}
    told = ", ".join(f"{n:,} {why}" for why, n in left_out.items()) or "none"
    record.progress(
        f"{record.rows_in:,} rows, {record.rows_quarantined:,} of them rejected; left out: {told}"
    )
    if rejected or record.lake.exists("quarantine"):
        bad = rows.where(F.col("reason").isNotNull())
        texts = (
            (F.col("row"), F.col("reason")) if "row" in rows.columns else (F.lit("").alias("row"), "reason")
        )
        record.write(
            "quarantine",
            bad.select(F.lit(record.run.ds).alias("ds"), F.lit(JOB).alias("job"), *texts),
            job=JOB,
        )
    if record.rows_quarantined > config.impressions.quarantine_budget * record.rows_in:
        reasons = ", ".join(f"{n} {reason}" for reason, n in rejected.items())
        raise AuditError(
            f"impressions: {record.rows_quarantined} of {record.rows_in} rows were rejected ({reasons}), above "
            f"impressions.quarantine_budget {config.impressions.quarantine_budget:g}; look at table quarantine, mend "
            "the source or raise it"
        )


def _truth(rows: DataFrame, ds: date) -> DataFrame:
    judged = rows.where(F.col("split").isin("test", "unbiased"))
    return judged.select(
        F.lit(ds).alias("ds"), "impression_id", "click_probability", "conversion_probability"
    )


if __name__ == "__main__":
    main(run, "conversion")
