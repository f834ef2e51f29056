"""Raw files of any source -> the events that a night adds, the rows it rejects with a reason, and what sources tell of
nodes: attributes (fields and terms), and the queries that items bring along."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest import LATER, map_rows, read_source, take, with_reason
from roilake.ingest.sources import CORRUPT, mapped
from roilake.pipelines.retrieval.config import AttributeSource, RetrievalConfig, SourceConfig

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


def words(text: F.Column) -> F.Column:
    """Distinct lower-cased runs of letters and digits, in order of appearance."""
    parts = F.split(F.lower(text), r"[^\p{L}\p{N}]+")
    return F.array_distinct(F.filter(parts, lambda part: part != ""))


def attributes(spark: SparkSession, source: AttributeSource, section: str) -> DataFrame:
    """(key, fields, terms), one row per key: of several, the one whose values sort first. Lines that do not
    parse or have no key describe nothing and are left out."""
    rows = read_source(spark, source)
    columns = mapped(rows, source, section, {"key": source.key, "terms": source.terms or "CAST(NULL AS STRING)"})
    fields = mapped(rows, source, f"{section}.fields", source.fields)
    names = F.array(*map(F.lit, fields)).cast("array<string>")
    values = F.array(*(column.cast("string") for column in fields.values())).cast("array<string>")
    return (
        rows.where(F.col(CORRUPT).isNull())
        .select(
            columns["key"].cast("string").alias("key"),
            columns["terms"].cast("string").alias("text"),
            values.alias("values"),
        )
        .where(F.trim("key") != "")
        .groupBy("key")
        .agg(F.min(F.struct("text", "values")).alias("first"))
        .select(
            "key",
            F.map_from_arrays(names, F.col("first.values")).alias("fields"),
            F.coalesce(words(F.col("first.text")), F.array().cast("array<string>")).alias("terms"),
        )
    )


def node_attributes(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """(node_type, key, fields, terms) of all nodes that some source describes."""
    sources = {"user": source.users, "query": source.queries, "item": source.items}
    tables = [
        attributes(spark, of_type, f"source.{plural}").select(F.lit(node_type).alias("node_type"), "*")
        for (node_type, of_type), plural in zip(sources.items(), ("users", "queries", "items"), strict=True)
        if of_type
    ]
    if not tables:
        schema = "node_type string, key string, fields map<string,string>, terms array<string>"
        return spark.createDataFrame([], schema)
    return reduce(DataFrame.unionByName, tables)


def queries_of_items(spark: SparkSession, source: SourceConfig) -> DataFrame | None:
    """(item, queries): the queries that an item may be asked by, sorted; None unless ``query_of_item`` is set."""
    if source.query_of_item is None:
        return None
    if source.items is None:
        raise SourceError("source.query_of_item: needs source.items, whose columns it is made of; add it")
    rows = read_source(spark, source.items)
    key = mapped(rows, source.items, "source.items", {"key": source.items.key})["key"]
    asked = mapped(rows, source.items, "source", {"query_of_item": source.query_of_item})["query_of_item"]
    queries = F.filter(asked.cast("array<string>"), lambda query: F.trim(query) != "")
    return (
        rows.where(F.col(CORRUPT).isNull())
        .select(key.cast("string").alias("item"), F.explode(queries).alias("query"))
        .groupBy("item")
        .agg(F.array_sort(F.collect_set("query")).alias("queries"))
    )
