"""Raw files of any source -> the events that a night adds, the rows it rejects with a reason, and what sources tell of
nodes: attributes (fields and terms), and the queries that items bring along."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest import LATER, UNASKED, map_rows, mapped, read_source, take, texts, trimmed, unasked, with_reason
from roilake.pipelines.retrieval.config import AttributeSource, RetrievalConfig, SourceConfig

KNOWN = "known from earlier nights"
IDENTIFIED_BY = ("time", "user", "query", "item", "event_type", "session")
"""What an event without an id of its own is known by, beside a number among equal ones."""
NODE_TYPE_OF = {"users": "user", "items": "item", "queries": "query"}
"""Node types by the name that the config has for what describes them."""


def source_events(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """All rows of the events source as columns of an event, with ``row`` and ``reason`` (see
    ``roilake.ingest.rows``)."""
    files = read_source(spark, source.events)
    rows = map_rows(
        files,
        "events",
        "source.events.columns",
        source.events.columns.model_dump(),
        identity="event_id",
        identified_by=IDENTIFIED_BY,
        required=("user", "item", "time", "event_id"),
        numbers=("value",),
        derived={"unasked": unasked(files, "source.events", source.events)},
    )
    no_number = F.col("value").isNull() | F.isnan("value") | (F.abs("value") == float("inf"))
    required = ("time", "user", "item", "event_id")
    return with_reason(rows, required, [(no_number, "value is no number")], ("user", "item", "query"))


def night_rows(
    rows: DataFrame,
    ds: date,
    known_ids: DataFrame | None = None,
    rejects: DataFrame | None = None,
    *,
    repeats: bool = True,
) -> DataFrame:
    """``take`` of the rows that the night at ``ds`` sees for the first time: what happens after its day is not visible
    yet, what another night has ingested (``known_ids``) or rejected (``rejects``) is not new. ``repeats``: ids are
    the source's own, and may stand twice."""
    known = F.lit(False)
    rows = rows.withColumn("rejected_id", F.when(F.col("reason").isNotNull(), F.col("row_id")))
    for other, name, column in ((known_ids, "event_id", "event_id"), (rejects, "row_id", "rejected_id")):
        if other is not None:
            marked = other.select(F.col(name).alias(column)).distinct().withColumn(f"known_{name}", F.lit(True))
            rows = rows.join(marked, on=column, how="left")
            known |= F.col(f"known_{name}").isNotNull()
    end = F.lit(str(ds + timedelta(days=1))).cast("timestamp")
    twice = ("event_id", "repeats an event id") if repeats else None
    return take(rows, {UNASKED: F.col("unasked"), LATER: F.col("time") >= end, KNOWN: known}, twice)


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


def attribute_sources(source: SourceConfig) -> dict[str, AttributeSource]:
    """What describes nodes, by the name that the config has for it."""
    sources = {"users": source.users, "items": source.items, "queries": source.queries}
    return {name: of_type for name, of_type in sources.items() if of_type}


def attribute_rows(spark: SparkSession, source: SourceConfig) -> DataFrame | None:
    """(node_type, key, terms, title, fields) of each row of all sources of attributes, with ``row`` and ``reason``;
    None where there is no such source."""
    tables = [_attribute_rows(spark, of_type, name) for name, of_type in attribute_sources(source).items()]
    return reduce(DataFrame.unionByName, tables) if tables else None


def _attribute_rows(spark: SparkSession, source: AttributeSource, name: str) -> DataFrame:
    files = read_source(spark, source)
    fields = texts(files.rows, mapped(files, f"source.{name}.fields", source.fields))
    named = [F.struct(F.lit(field).alias("key"), value.alias("value")) for field, value in fields.items()]
    rows = map_rows(
        files,
        name,
        f"source.{name}",
        {"key": source.key, "terms": source.terms, "title": source.title},
        identity="key",
        identified_by=(),
        required=("key",),
        derived={
            "unasked": unasked(files, f"source.{name}", source),
            "node_type": F.lit(NODE_TYPE_OF[name]),
            "fields": F.array(*named).cast("array<struct<key:string,value:string>>"),
        },
    )
    return take(with_reason(rows, ("key",), [], ("key",)), {UNASKED: F.col("unasked")})


def node_attributes(sound: DataFrame) -> DataFrame:
    """(node_type, key, fields, terms, title) of what the sound ones of ``attribute_rows`` describe: of several rows of
    a key, the one whose values sort first."""
    first = sound.groupBy("node_type", "key").agg(F.min(F.struct("terms", "fields", "title")).alias("first"))
    terms = F.coalesce(words(F.col("first.terms")), F.array().cast("array<string>"))
    fields = F.map_from_entries("first.fields")
    return first.select("node_type", "key", fields.alias("fields"), terms.alias("terms"), "first.title")


def queries_of_items(spark: SparkSession, source: SourceConfig) -> DataFrame | None:
    """(item, queries): the queries that an item may be asked by, sorted; None unless ``query_of_item`` is set."""
    if source.query_of_item is None:
        return None
    if source.items is None:
        raise SourceError("source.query_of_item: needs source.items, whose columns it is made of; add it")
    files = read_source(spark, source.items)
    key = texts(files.rows, mapped(files, "source.items", {"key": source.items.key}))["key"]
    asked = mapped(files, "source", {"query_of_item": source.query_of_item})["query_of_item"].cast("array<string>")
    queries = F.filter(F.transform(asked, trimmed), lambda query: query != "")
    return (
        files.rows.where(~unasked(files, "source.items", source.items))
        .select(key.alias("item"), F.explode(queries).alias("query"))
        .where(F.col("item").isNotNull())
        .groupBy("item")
        .agg(F.array_sort(F.collect_set("query")).alias("queries"))
    )
