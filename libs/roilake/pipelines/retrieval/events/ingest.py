"""Source rows -> the events that a night adds, and the rows it rejects with a reason."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.ingest.sources import CORRUPT, mapped, read_source
from roilake.pipelines.retrieval.config import RetrievalConfig, SourceConfig
from roilake.pipelines.retrieval.events.attributes import queries_of_items

JOB = "ingest_events"


def judged_rows(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """All rows of the events source, mapped to event columns, with ``row`` (the raw row as JSON) and
    ``reason`` (null for a sound row). The event id defaults to a hash of the raw row."""
    raw = read_source(spark, source.events)
    names = [name for name in raw.columns if name != CORRUPT]
    chosen = {k: v for k, v in source.events.columns.model_dump().items() if v is not None}
    found = mapped(raw, source.events, {f"source.events.columns.{key}": chosen[key] for key in chosen})
    columns = {key.rsplit(".", 1)[1]: column for key, column in found.items()}
    row = F.to_json(F.struct(*(F.col(f"`{name}`") for name in names)))
    line = F.to_json(F.struct(F.col(CORRUPT).alias("line")))
    texts = {name: _text(columns.get(name)) for name in ("user", "query", "item", "event_type", "session")}
    rows = raw.select(
        _text(columns.get("event_id", F.substring(F.sha2(row, 256), 1, 32))).alias("event_id"),
        columns["time"].cast("timestamp").alias("time"),
        *(column.alias(name) for name, column in texts.items()),
        columns["value"].cast("double").alias("value"),
        F.when(F.col(CORRUPT).isNull(), row).otherwise(line).alias("row"),
        F.col(CORRUPT).isNotNull().alias("corrupt"),
    )
    return rows.withColumn("reason", _reason())


def _text(column: F.Column | None) -> F.Column:
    """As a string; empty is null."""
    if column is None:
        return F.lit(None).cast("string")
    return F.nullif(F.trim(column.cast("string")), F.lit(""))


def _reason() -> F.Column:
    no_number = F.col("value").isNull() | F.isnan("value")
    checks = [
        (F.col("corrupt"), "does not parse"),
        (F.col("time").isNull(), "no time"),
        (F.col("user").isNull(), "no user"),
        (F.col("item").isNull(), "no item"),
        (F.col("event_id").isNull(), "no event id"),
        (no_number, "value is no number"),
    ]
    return F.coalesce(*(F.when(failed, F.lit(reason)) for failed, reason in checks))


def new_rows(
    rows: DataFrame, known_ids: DataFrame | None, known_rejects: DataFrame | None, ds: date
) -> DataFrame:
    """Rows that the night at ``ds`` sees for the first time: what happens after its day is not visible yet,
    what an earlier night ingested or rejected is not new. An id that repeats keeps the row that sorts
    first; the others get the reason ``repeats an event id``."""
    end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
    rows = rows.where(F.col("time").isNull() | (F.col("time") < end))
    if known_ids is not None:
        rows = rows.join(known_ids.select("event_id"), on="event_id", how="left_anti")
    if known_rejects is not None:
        rows = rows.join(known_rejects.select("row"), on="row", how="left_anti")
    sound = F.col("reason").isNull()
    same_id = Window.partitionBy("event_id", sound).orderBy("time", "row")
    repeated = sound & (F.row_number().over(same_id) > 1)
    return rows.withColumn("reason", F.when(repeated, "repeats an event id").otherwise(F.col("reason")))


def with_queries(events: DataFrame, queries: DataFrame | None, seed: int) -> DataFrame:
    """Give an event without a query one of its item's, drawn by a keyed hash of the event id."""
    if queries is None:
        return events
    draw = F.pmod(F.xxhash64(F.lit("query"), F.lit(seed), "event_id"), F.size("queries")) + 1
    return (
        events.join(F.broadcast(queries), on="item", how="left")
        .withColumn("query", F.coalesce("query", F.element_at("queries", draw.cast("int"))))
        .drop("queries")
    )


def with_sessions(events: DataFrame, gap_minutes: int) -> DataFrame:
    """Give events without a session one: a user's events less than ``gap_minutes`` apart share it. Sessions
    are cut at the night's start, since only the night's own events are looked at."""
    in_time = Window.partitionBy("user").orderBy("time", "event_id")
    seconds = F.unix_timestamp("time")
    gap = seconds - F.lag(seconds).over(in_time)
    starts = F.when(gap.isNull() | (gap > gap_minutes * 60), seconds)
    start = F.last(starts, ignorenulls=True).over(in_time.rowsBetween(Window.unboundedPreceding, 0))
    return events.withColumn("session", F.coalesce("session", F.concat_ws("@", "user", start.cast("string"))))


def night_rows(
    spark: SparkSession,
    config: RetrievalConfig,
    ds: date,
    known_ids: DataFrame | None,
    known_rejects: DataFrame | None,
) -> DataFrame:
    """Everything the night sees for the first time, sound rows and rejected ones (``reason`` set)."""
    return new_rows(judged_rows(spark, config.source), known_ids, known_rejects, ds)


def finished(spark: SparkSession, sound: DataFrame, config: RetrievalConfig) -> DataFrame:
    """Sound new rows as rows of ``events`` (without ``ds``). Sessions lie together, in order, as the table promises:
    all of a user's rows are in one partition already, for that is how sessions are found."""
    queries = queries_of_items(spark, config.source)
    events = with_queries(sound, queries, config.seed)
    events = with_sessions(events, config.source.session_gap_minutes)
    return events.withColumn(
        "event_type", F.coalesce("event_type", F.lit("interaction"))
    ).sortWithinPartitions("user", "session", "time", "event_id")
