"""Rows of a source, or of a generated truth -> the impressions that a night looks at, and the rows it rejects."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest import (
    CORRUPT,
    LATER,
    SourceRows,
    check_query,
    error_line,
    map_rows,
    mapped,
    read_source,
    take,
    texts,
    with_reason,
)
from roilake.pipelines.conversion.config import ImpressionsConfig, ImpressionSource, SplitConfig

TEXTS = ("impression_id", "user", "item")
LABELS = ("click", "conversion")
NUMBERS = ("delay_seconds", "sampling_rate", "propensity")
DAY = 86400.0


def category(field: str, value: Column) -> Column:
    """31-bit hash of (field, value), -1 for null: crc32 of ``FIELD=VALUE`` without its highest bit."""
    text = F.concat(F.lit(f"{field}="), value.cast("string"))
    return F.coalesce(F.crc32(text).bitwiseAND(F.lit(0x7FFFFFFF)), F.lit(-1)).cast("int")


def source_files(spark: SparkSession, source: ImpressionSource) -> dict[str, SourceRows]:
    """The rows of each of the source's files, by name. Raises SourceError for one that cannot be read."""
    return {name: read_source(spark, file) for name, file in source.files.items()}


def source_rows(spark: SparkSession, source: ImpressionSource, files: dict[str, SourceRows], key: str) -> SourceRows:
    """One row per impression of the source at ``key`` of the config, with ``CORRUPT`` where a single file tells it.
    Raises SourceError where ``rows`` cannot be run, or may differ from run to run."""
    if source.rows is None:
        return next(iter(files.values()))
    for name, file in files.items():
        file.rows.where(F.col(CORRUPT).isNull()).drop(CORRUPT).createOrReplaceTempView(name)
    try:
        rows = spark.sql(source.rows)
        check_query(rows._jdf.queryExecution())  # type: ignore[operator]
    except (PySparkException, ValueError) as error:
        raise SourceError(f"{key}.rows: {error_line(error)}; the files are {', '.join(files)}") from error
    finally:
        for name in files:
            spark.catalog.dropTempView(name)
    return SourceRows(f"{key}.rows", rows.withColumn(CORRUPT, F.lit(None).cast("string")))


def source_impressions(
    raw: SourceRows, config: ImpressionsConfig, source: ImpressionSource, ds: date, *, unbiased: bool
) -> DataFrame:
    """All rows of a source as columns of an impression, with ``fields`` (categories of the fields), ``row`` and
    ``reason`` (see ``roilake.ingest.rows``). ``unbiased``: pairs shown at random, whose click need not be known and
    whose conversion must be."""
    name = "unbiased" if unbiased else "source"
    columns = source.columns.model_dump()
    rows = map_rows(
        raw,
        name,
        f"impressions.{name}.columns",
        columns | {"time": columns["time"] or f"DATE'{ds}'"},
        identity="impression_id",
        identified_by=("time", "user", "item", "fields"),
        required=("user", "item", "click", "conversion", *(("time",) if columns["time"] else ())),
        numbers=NUMBERS,
        labels=LABELS,
        derived={"fields": field_categories(raw, config)},
    )
    return with_reason(rows, ("time", *TEXTS), _faults(unbiased), ("user", "item"))


def unparsed(files: dict[str, SourceRows], like: DataFrame, prefix: str) -> list[DataFrame]:
    """What does not parse of files that ``rows`` joins, each as a rejected row with the columns of ``like``."""
    found = []
    for name, file in files.items():
        given = dict.fromkeys(("user", "item"), "CAST(NULL AS STRING)")
        rows = map_rows(file, prefix + name, name, given, identity="user", identified_by=(), required=())
        rejected = take(with_reason(rows.where("corrupt"), (), []), {})
        found.append(like.limit(0).unionByName(rejected, allowMissingColumns=True))
    return found


def field_categories(raw: SourceRows, config: ImpressionsConfig) -> Column:
    """A category for each field beside the ids."""
    expressions = {f"{side}.{name}": getattr(config.fields, side)[name] for side, name in config.categories[2:]}
    values = texts(raw.rows, mapped(raw, "impressions.fields", expressions))
    categories = [category(name.rsplit(".", 1)[1], value) for name, value in values.items()]
    return F.array(*categories).cast("array<int>")


def _faults(unbiased: bool) -> list[tuple[Column, str]]:
    """What breaks the contract of an impression, with the reason that goes to quarantine."""
    click, conversion = F.col("click"), F.col("conversion")
    unknown = conversion.isNull() if unbiased else click.isNull() | ((click == 1) & conversion.isNull())
    return [
        (unknown, "no conversion" if unbiased else "no click, or none of its conversion"),
        (~click.isin(0, 1), "click is neither 0 nor 1"),
        (~conversion.isin(0, 1), "conversion is neither 0 nor 1"),
        ((conversion == 1) & (click == 0), "a conversion without a click"),
        (F.col("delay_seconds") < 0, "a negative delay"),
        (_outside("sampling_rate"), "a sampling rate outside (0, 1]"),
        (_outside("propensity"), "a propensity outside (0, 1]"),
    ]


def _outside(name: str) -> Column:
    return ~((F.col(name) > 0) & (F.col(name) <= 1)) | F.isnan(name)


def seen_by_night(rows: DataFrame, ds: date) -> DataFrame:
    """Rows with their ``age`` at the night's end, in seconds, and labels as the night's end knows them: a conversion
    that comes later is none yet."""
    end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
    age = (F.unix_micros(end) - F.unix_micros("time")) / 1e6
    known = (F.col("conversion") == 1) & (F.coalesce("delay_seconds", F.lit(0.0)) < age)
    return rows.withColumns(
        {
            "age": age,
            "conversion": F.when(F.col("conversion").isNotNull(), known.cast("int")),
            "delay_seconds": F.when(known, F.col("delay_seconds")),
        }
    )


def left_out(config: ImpressionsConfig, *, timed: bool, of_any_age: bool) -> dict[str, Column]:
    """Which rows the night does not look at, by reason: those from after its end and, of sound ones, those that are
    younger than ``maturity_hours`` or (unless ``of_any_age``) older than ``days``. Untimed rows are all looked at."""
    age, sound = F.col("age"), F.col("reason").isNull()
    reasons = {LATER: age <= 0, "too young": sound & (age <= config.maturity_hours * 3600)} if timed else {}
    if config.days is not None and not of_any_age:
        reasons["too old"] = sound & (age > config.days * DAY)
    return reasons


def with_split(rows: DataFrame, config: ImpressionsConfig, seed: int) -> DataFrame:
    """Rows of the log, each in its split."""
    return rows.withColumn("split", _split(config.split, config.maturity_hours / 24, seed))


def _split(split: SplitConfig, mature_days: float, seed: int) -> Column:
    """By time, counted back from the last instant whose labels are settled; by hash, shares of the impressions."""
    test, validation = split.test, split.test + split.validation
    if split.by == "time":
        position: Column = (
            F.col("age") / DAY - mature_days
        )  # days before that instant: a day's first one is a whole number
        return F.when(position <= test, "test").when(position <= validation, "validation").otherwise("train")
    position = F.pmod(F.xxhash64(F.lit("split"), F.lit(seed), "impression_id"), F.lit(1 << 40)) / (1 << 40)
    return F.when(position < test, "test").when(position < validation, "validation").otherwise("train")


def nodes_of(rows: DataFrame) -> DataFrame:
    """(node_type, key, first_time) of the users and items of sound rows."""
    ends = [F.struct(F.lit(kind).alias("node_type"), F.col(kind).alias("key")) for kind in ("user", "item")]
    return (
        rows.select(F.explode(F.array(*ends)).alias("node"), "time")
        .groupBy("node.node_type", "node.key")
        .agg(F.min("time").alias("first_time"))
    )


def with_categories(rows: DataFrame, ids: DataFrame) -> DataFrame:
    """Rows with ``categories``: the ids of user and item in ``ids`` (node_type, key, id), then the ``fields``."""
    for kind in ("user", "item"):
        keyed = ids.where(F.col("node_type") == kind)
        rows = rows.join(keyed.select(F.col("key").alias(kind), F.col("id").alias(f"{kind}_id")), on=kind, how="left")
    return rows.withColumn("categories", F.concat(F.array("user_id", "item_id"), "fields"))


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
                "shard": F.pmod(F.xxhash64(F.lit("shard"), F.lit(seed), "impression_id"), F.lit(shards)).cast("int"),
            }
        )
        .repartition(*keys)
        .sortWithinPartitions(*keys, "impression_id")
    )
