"""Raw log of impressions, or a generated one -> the impressions that a night looks at; rejected rows -> quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.ingest import Budget, accounted, give_ids, take
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.impressions.ingest import (
    finished_impressions,
    left_out,
    nodes_of,
    seen_by_night,
    source_impressions,
    with_categories,
    with_split,
)
from roilake.pipelines.conversion.impressions.truth_rows import Generator, generated_rows
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write the night's ``impressions``, whole: a conversion that came in late changes its row; and ``node_ids`` of
    users and items that had none. A generated log also gives ``conversion_truth``. Raises AuditError, after writing
    ``quarantine``, when the share of rejected rows is above ``impressions.quarantine_budget``."""
    with recorded(lake, config, ds, "build_impressions") as record:
        rows = reduce(DataFrame.unionByName, _sources(record, config))
        share = config.impressions.quarantine_budget
        with accounted(record, rows, Budget("impressions", "impressions.quarantine_budget", share)) as sound:
            ids = give_ids(record, nodes_of(sound))
            if config.impressions.truth:
                record.write("conversion_truth", _truth(sound, ds))
            record.rows_out = 0  # so far about the same rows
            impressions = with_categories(sound, ids)
            record.write("impressions", finished_impressions(impressions, config.impressions.shards, config.seed, ds))
    return record.result


def _sources(record: Recorder, config: ConversionConfig) -> Iterator[DataFrame]:
    """Rows of the log, each in its split, and of pairs shown at random."""
    spark, ds, given = record.lake.spark, record.run.ds, config.impressions
    repeats, timed, drawn = None, False, None
    if given.truth:
        generator = Generator.of(spark, given.truth, config.seed)
        record.progress(f"a truth of {len(generator.users):,} users and {len(generator.items):,} items")
        log = generated_rows(spark, generator, given)
        drawn = generated_rows(spark, generator, given, random=ds)
    else:
        assert given.source is not None  # the config has one of the two
        repeats = "impression_id", "repeats an impression id"
        log = source_impressions(spark, given, given.source, ds, unbiased=False)
        if given.unbiased:
            drawn = source_impressions(spark, given, given.unbiased, ds, unbiased=True)
            timed = given.unbiased.columns.time is not None
    log = take(seen_by_night(log, ds), left_out(given, timed=True, of_any_age=False), repeats)
    yield with_split(log, given, config.seed)
    if drawn is not None:
        drawn = take(seen_by_night(drawn, ds), left_out(given, timed=timed, of_any_age=True), repeats)
        yield drawn.withColumn("split", F.lit("unbiased"))


def _truth(rows: DataFrame, ds: date) -> DataFrame:
    evaluated = rows.where(F.col("split").isin("test", "unbiased"))
    return evaluated.select(F.lit(ds).alias("ds"), "impression_id", "click_probability", "conversion_probability")


if __name__ == "__main__":
    main(run, "conversion")
