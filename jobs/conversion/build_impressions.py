"""Raw log of impressions, or a generated one -> the impressions that a night looks at; rejected rows -> quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.ingest import Budget, accounted, count_keys, count_parsed, give_ids, take
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig, ImpressionSource
from roilake.pipelines.conversion.impressions.ingest import (
    finished_impressions,
    left_out,
    nodes_of,
    seen_by_night,
    source_files,
    source_impressions,
    source_rows,
    unparsed,
    with_categories,
    with_split,
)
from roilake.pipelines.conversion.impressions.truth_rows import Generator, generated_rows
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write the night's ``impressions``, whole: a conversion that came in late changes its row; and ``node_ids`` of
    users and items that had none. A generated log also gives ``conversion_truth``. Raises AuditError, after writing
    ``quarantine``, when a source loses more rows than ``impressions`` allows, or a field is known of too few."""
    with recorded(lake, config, ds, "build_impressions") as record:
        given = config.impressions
        parsed: dict[str, int] = {}
        rows = reduce(DataFrame.unionByName, _sources(record, config, parsed))
        with accounted(record, rows, Budget("impressions", given, _paths(config)), parsed) as sound:
            count_keys(record, sound, ("user", "item"), given.minimum_keys)
            check_coverage(record, sound, config)
            ids = give_ids(record, nodes_of(sound))
            if given.truth:
                record.write("conversion_truth", _truth(sound, ds))
            record.rows_out = 0  # so far about the same rows
            impressions = with_categories(sound, ids)
            record.write("impressions", finished_impressions(impressions, given.shards, config.seed, ds))
    return record.result


def check_coverage(record: Recorder, rows: DataFrame, config: ConversionConfig) -> None:
    """Note in how many impressions each field is known. Raises AuditError where that is too few."""
    names = [f"{side}.{name}" for side, name in config.impressions.categories[2:]]
    known = [F.count(F.when(F.get("fields", F.lit(index)) >= 0, 1)).alias(name) for index, name in enumerate(names)]
    (found,) = rows.agg(F.count(F.lit(1)).alias("rows"), *known).collect()
    record.details["described"] = {name: (found[name], found["rows"]) for name in names}
    for name, (count, seen) in record.details["described"].items():
        if count < config.impressions.minimum_coverage * seen:
            raise AuditError(
                f"impressions.fields.{name}: is known of {count} of {seen} impressions, below impressions."
                f"minimum_coverage {config.impressions.minimum_coverage:g}; do the files join by what they should?"
            )


def _paths(config: ConversionConfig) -> dict[str, str]:
    """Where the files of each source lie."""
    found: dict[str, str] = {}
    for prefix, source in (("", config.impressions.source), ("unbiased.", config.impressions.unbiased)):
        found |= {prefix + name: file.path for name, file in source.files.items()} if source else {}
    return found


def _sources(record: Recorder, config: ConversionConfig, parsed: dict[str, int]) -> Iterator[DataFrame]:
    """Rows of the log, each in its split, of pairs shown at random, and what does not parse of files that are joined;
    how many rows of those do parse is noted in ``parsed``."""
    spark, ds, given = record.lake.spark, record.run.ds, config.impressions
    if given.truth:
        generator = Generator.of(spark, given.truth, config.seed)
        record.progress(f"a truth of {len(generator.users):,} users and {len(generator.items):,} items")
        log = seen_by_night(generated_rows(spark, generator, given), ds)
        yield with_split(take(log, left_out(given, timed=True, of_any_age=False)), given, config.seed)
        drawn = seen_by_night(generated_rows(spark, generator, given, random=ds), ds)
        yield take(drawn, left_out(given, timed=False, of_any_age=True)).withColumn("split", F.lit("unbiased"))
        return
    for unbiased, source in ((False, given.source), (True, given.unbiased)):
        if source is not None:
            yield from _read(record, config, source, parsed, unbiased=unbiased)


def _read(
    record: Recorder, config: ConversionConfig, source: ImpressionSource, parsed: dict[str, int], *, unbiased: bool
) -> Iterator[DataFrame]:
    """Rows of a source."""
    spark, ds, given = record.lake.spark, record.run.ds, config.impressions
    files = source_files(spark, source)
    raw = source_rows(spark, source, files, f"impressions.{'unbiased' if unbiased else 'source'}")
    rows = seen_by_night(source_impressions(raw, given, source, ds, unbiased=unbiased), ds)
    timed = not unbiased or source.columns.time is not None
    repeats = ("impression_id", "repeats an impression id") if source.columns.impression_id else None
    rows = take(rows, left_out(given, timed=timed, of_any_age=unbiased), repeats)
    rows = rows.withColumn("split", F.lit("unbiased")) if unbiased else with_split(rows, given, config.seed)
    yield rows
    if source.rows is not None:
        prefix = "unbiased." if unbiased else ""
        parsed |= {prefix + name: count_parsed(file) for name, file in files.items()}
        yield from unparsed(files, rows, prefix)


def _truth(rows: DataFrame, ds: date) -> DataFrame:
    evaluated = rows.where(F.col("split").isin("test", "unbiased"))
    return evaluated.select(F.lit(ds).alias("ds"), "impression_id", "click_probability", "conversion_probability")


if __name__ == "__main__":
    main(run, "conversion")
