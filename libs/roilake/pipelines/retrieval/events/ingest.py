"""Source rows -> the events that a night adds, and the rows it rejects with a reason."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.ingest import LATER, map_rows, read_source, take, with_reason
from roilake.pipelines.retrieval.config import RetrievalConfig, SourceConfig
from roilake.pipelines.retrieval.events.attributes import queries_of_items

KNOWN = "known from earlier nights"


def source_events(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """All rows of the events source as columns of an event, with ``row`` and ``reason`` (see
    ``roilake.ingest.rows``)."""
    rows = map_rows(
        read_source(spark, source.events),
        source.events,
        "source.events.columns",
        source.events.columns.model_dump(),
        identity="event_id",
        numbers=("value",),
    )
    no_number = F.col("value").isNull() | F.isnan("value")
    required = ("time", "user", "item", "event_id")
    return with_reason(rows, required, [(no_number, "value is no number")])


def night_rows(
    rows: DataFrame, ds: date, known_ids: DataFrame | None = None, rejects: DataFrame | None = None
) -> DataFrame:
    """``take`` of the rows that the night at ``ds`` sees for the first time: what happens after its day is not visible
    yet, what an earlier night has ingested (``known_ids``) or rejected (``rejects``) is not new."""
    known = F.lit(False)
    for earlier, name in ((known_ids, "event_id"), (rejects, "row")):
        if earlier is not None:
            marked = earlier.select(name).distinct().withColumn(f"known_{name}", F.lit(True))
            rows = rows.join(marked, on=name, how="left")
            known |= F.col(f"known_{name}").isNotNull()
    end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
    return take(rows, {LATER: F.col("time") >= end, KNOWN: known}, ("event_id", "repeats an event id"))


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


def finished(spark: SparkSession, sound: DataFrame, config: RetrievalConfig) -> DataFrame:
    """Sound new rows as rows of ``events`` (without ``ds``). Sessions lie together, in order, as the table promises:
    all of a user's rows are in one partition already, for that is how sessions are found."""
    queries = queries_of_items(spark, config.source)
    events = with_queries(sound, queries, config.seed)
    events = with_sessions(events, config.source.session_gap_minutes)
    return events.withColumn("event_type", F.coalesce("event_type", F.lit("interaction"))).sortWithinPartitions(
        "user", "session", "time", "event_id"
    )
