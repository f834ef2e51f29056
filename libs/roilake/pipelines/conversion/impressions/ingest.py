"""Rows of a source, or of a generated truth -> the impressions that a night looks at, and the rows it rejects."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest.sources import CORRUPT, error_line, mapped, read_source
from roilake.pipelines.conversion.config import ImpressionsConfig, ImpressionSource, SplitConfig

TEXTS = ("impression_id", "user", "item")
NUMBERS = ("click", "conversion", "delay_seconds", "sampling_rate", "propensity")
DAY = 86400.0


def categories_of(field: str, values: Iterable[str | None]) -> NDArray[np.int32]:
    """31-bit hash of each (field, value), -1 for None: crc32 of ``FIELD=VALUE`` without its highest bit."""
    found = [-1 if v is None else zlib.crc32(f"{field}={v}".encode()) & 0x7FFFFFFF for v in values]
    return np.array(found, np.int32)


def category(field: str, value: Column) -> Column:
    """``categories_of`` as a column."""
    text = F.concat(F.lit(f"{field}="), value.cast("string"))
    return F.coalesce(F.crc32(text).bitwiseAND(F.lit(0x7FFFFFFF)), F.lit(-1)).cast("int")


def source_rows(spark: SparkSession, source: ImpressionSource, key: str) -> DataFrame:
    """One row per impression of the source at ``key`` of the config, with ``CORRUPT`` where a single file tells it.
    Raises SourceError where the files or ``rows`` cannot be read."""
    files = {name: read_source(spark, file) for name, file in source.files.items()}
    if source.rows is None:
        return next(iter(files.values()))
    for name, rows in files.items():
        rows.drop(CORRUPT).createOrReplaceTempView(name)
    try:
        return spark.sql(source.rows).withColumn(CORRUPT, F.lit(None).cast("string"))
    except (AnalysisException, ParseException) as error:
        raise SourceError(f"{key}.rows: {error_line(error)}; the files are {', '.join(files)}") from error
    finally:
        for name in files:
            spark.catalog.dropTempView(name)


def judged_impressions(
    spark: SparkSession, config: ImpressionsConfig, source: ImpressionSource, ds: date, *, random: bool
) -> DataFrame:
    """All rows of a source, mapped, with ``categories``, ``row`` (the raw row as JSON) and ``reason`` (null for a sound
    row). ``unbiased``: pairs shown at random, whose click need not be known and whose conversion must be."""
    key = "impressions.unbiased" if random else "impressions.source"
    raw = source_rows(spark, source, key)
    file = next(iter(source.files.values()))
    chosen = {k: v for k, v in source.columns.model_dump().items() if v is not None}
    found = mapped(raw, file, {f"{key}.columns.{name}": sql for name, sql in chosen.items()})
    columns = {name.rsplit(".", 1)[1]: column for name, column in found.items()}
    raw_row = F.to_json(F.struct(*(F.col(f"`{name}`") for name in raw.columns if name != CORRUPT)))
    columns.setdefault("impression_id", F.substring(F.sha2(raw_row, 256), 1, 32))
    time = columns.get("time", F.lit(str(ds))).cast("timestamp")
    texts = {name: F.nullif(F.trim(columns[name].cast("string")), F.lit("")) for name in TEXTS}
    numbers = {
        name: columns[name].cast("double") if name in columns else F.lit(None).cast("double")
        for name in NUMBERS
    }
    values = mapped(
        raw, file, {f"impressions.fields.{side}.{name}": sql for side, name, sql in fields_of(config)}
    )
    categories = [category(name.rsplit(".", 1)[1], value) for name, value in values.items()]
    line = F.to_json(F.struct(F.col(CORRUPT).alias("line")))
    rows = raw.select(
        time.alias("time"),
        *(column.alias(name) for name, column in {**texts, **numbers}.items()),
        F.array(category("user", texts["user"]), category("item", texts["item"]), *categories).alias(
            "categories"
        ),
        F.when(F.col(CORRUPT).isNull(), raw_row).otherwise(line).alias("row"),
        F.col(CORRUPT).isNotNull().alias("corrupt"),
    )
    return _first_of_id(rows.withColumn("reason", _reason(random)))


def fields_of(config: ImpressionsConfig) -> list[tuple[str, str, str]]:
    """(side, name, SQL) of the fields beside the ids, in the order of ``categories``."""
    sides = config.fields.model_dump()
    return [(side, name, sql) for side in ("user", "item", "context") for name, sql in sides[side].items()]


def _reason(random: bool) -> Column:
    click, conversion = F.col("click"), F.col("conversion")
    unknown = conversion.isNull() if random else click.isNull() | ((click == 1) & conversion.isNull())
    checks = [
        (F.col("corrupt"), "does not parse"),
        *((F.col(name).isNull(), f"no {name.replace('_', ' ')}") for name in ("time", *TEXTS)),
        (unknown, "no conversion" if random else "no click, or none of its conversion"),
        (~click.isin(0, 1), "click is neither 0 nor 1"),
        (~conversion.isin(0, 1), "conversion is neither 0 nor 1"),
        ((conversion == 1) & (click == 0), "a conversion without a click"),
        (F.col("delay_seconds") < 0, "a negative delay"),
        (_outside("sampling_rate"), "a sampling rate outside (0, 1]"),
        (_outside("propensity"), "a propensity outside (0, 1]"),
    ]
    return F.coalesce(*(F.when(failed, F.lit(reason)) for failed, reason in checks))


def _outside(name: str) -> Column:
    return ~((F.col(name) > 0) & (F.col(name) <= 1)) | F.isnan(name)


def _first_of_id(rows: DataFrame) -> DataFrame:
    """An id that repeats keeps the row that sorts first."""
    sound = F.col("reason").isNull()
    same = Window.partitionBy("impression_id", sound).orderBy("time", "row")
    repeated = sound & (F.row_number().over(same) > 1)
    return rows.withColumn("reason", F.when(repeated, "repeats an impression id").otherwise(F.col("reason")))


def seen_by_night(rows: DataFrame, config: ImpressionsConfig, ds: date) -> DataFrame:
    """Rows with ``left_out`` (null for those that the night looks at), and labels as the night's end knows them: a
    conversion that comes later is none yet."""
    end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
    age = (F.unix_micros(end) - F.unix_micros("time")) / 1e6  # seconds
    rejected = F.col("reason").isNotNull()
    too_old = F.lit(False) if config.days is None else age > config.days * DAY
    left_out = (
        F.when(rejected, None)
        .when(age <= 0, "after the night")
        .when(age <= config.maturity_hours * 3600, "too young")
        .when(too_old, "too old")
    )
    known = (F.col("conversion") == 1) & (F.coalesce("delay_seconds", F.lit(0.0)) < age)
    return rows.select(
        *(name for name in rows.columns if name not in ("conversion", "delay_seconds")),
        left_out.alias("left_out"),
        F.when(F.col("conversion").isNotNull(), known.cast("int")).alias("conversion"),
        F.when(known, F.col("delay_seconds")).alias("delay_seconds"),
        age.alias("age"),
    )


def with_split(rows: DataFrame, config: ImpressionsConfig, seed: int) -> DataFrame:
    """Rows of the log, each in its split."""
    return rows.withColumn("split", _split(config.split, config.maturity_hours / 24, seed))


def _split(split: SplitConfig, mature_days: float, seed: int) -> Column:
    """By time, counted back from the last instant whose labels are settled; by hash, shares of the impressions."""
    test, validation = split.test, split.test + split.validation
    if split.by == "time":
        place: Column = (
            F.col("age") / DAY - mature_days
        )  # days before that instant: a day's first one is a whole number
        return F.when(place <= test, "test").when(place <= validation, "validation").otherwise("train")
    place = F.pmod(F.xxhash64(F.lit("split"), F.lit(seed), "impression_id"), F.lit(1 << 40)) / (1 << 40)
    return F.when(place < test, "test").when(place < validation, "validation").otherwise("train")


def finished_impressions(rows: DataFrame, shards: int, seed: int, ds: date) -> DataFrame:
    """Sound rows as rows of ``impressions``: a file for each split, label and shard, in order of the id."""
    keys = ("split", "labelled", "shard")
    clicked = F.coalesce(F.col("click"), F.lit(0)) == 1
    known = F.when(F.col("split") == "unbiased", F.col("conversion").isNotNull()).otherwise(clicked)
    conversion = F.when((F.col("split") == "unbiased") | clicked, F.col("conversion"))
    return (
        rows.withColumns(
            {
                "ds": F.lit(ds),
                "labelled": known.cast("int"),
                "conversion": conversion,
                "sampling_rate": F.coalesce("sampling_rate", F.lit(1.0)),
                "shard": F.pmod(F.xxhash64(F.lit("shard"), F.lit(seed), "impression_id"), F.lit(shards)).cast(
                    "int"
                ),
            }
        )
        .repartition(*keys)
        .sortWithinPartitions(*keys, "impression_id")
    )
