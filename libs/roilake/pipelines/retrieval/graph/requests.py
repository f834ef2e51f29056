"""Events of a night's windows -> requests with what was chosen, and the pairs to score."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.graph.windows import Window


def indexed(events: DataFrame, nodes: DataFrame) -> DataFrame:
    """Events with the ids of user, query (-1 for none) and item in place of their keys, and ``user_since``; ``nodes``
    has (node_type, key, id, since)."""
    for node_type in NODE_TYPES:
        of_type = nodes.where(F.col("node_type") == node_type)
        names = {"key": node_type, "id": f"{node_type}_id", "since": f"{node_type}_since"}
        keyed = of_type.select(*(F.col(name).alias(alias) for name, alias in names.items()))
        events = events.join(keyed, on=node_type, how="left")
    user, item = F.col("user_id").alias("user"), F.col("item_id").alias("item")
    query = F.coalesce("query_id", F.lit(-1)).alias("query")
    return events.select("event_id", "time", user, query, item, "session", "user_since")


def with_first_times(nodes: DataFrame, events: DataFrame) -> DataFrame:
    """Nodes with ``since``, the time of a user's first event (null for queries and items)."""
    first = events.groupBy(F.col("user").alias("key")).agg(F.min("time").alias("since"))
    return nodes.join(first.withColumn("node_type", F.lit("user")), on=["node_type", "key"], how="left")


def keyed(rows: DataFrame, nodes: DataFrame, *node_types: str) -> DataFrame:
    """Rows with keys in place of the ids in the columns ``node_types``; null for -1. ``nodes`` as above."""
    for name in node_types:
        keys = nodes.where(F.col("node_type") == name).select(F.col("id").alias(name), "key")
        rows = rows.join(F.broadcast(keys), on=name, how="left").drop(name).withColumnRenamed("key", name)
    return rows


def request_id(seed: int) -> Column:
    """Keyed 63-bit hash of (user, query, time): the events of a user, query and instant are one request."""
    return F.xxhash64(F.lit("request"), F.lit(seed), "user", "query", "time").bitwiseAND(F.lit(2**63 - 1))


def labelled_requests(events: DataFrame, windows: Sequence[Window], seed: int) -> DataFrame:
    """One row per event of a window (every event is a positive): (split, as_of, request_id, user, query,
    item, label, time, event_id, known_user). ``events`` is by id, as ``indexed`` gives it."""
    time, known = F.col("time"), F.col("user_since") < F.col("as_of").cast("timestamp")
    spans = [
        F.when(
            (time >= _midnight(window.as_of)) & (time < _midnight(window.end)),
            F.struct(F.lit(window.split).alias("split"), F.lit(window.as_of).alias("as_of")),
        )
        for window in windows
        if window.split != "serve"
    ]
    return (
        events.withColumn("window", F.coalesce(*spans))
        .where(F.col("window").isNotNull())
        .select("window.split", "window.as_of", "user", "query", "item", "time", "event_id", "user_since")
        .withColumns({"request_id": request_id(seed), "label": F.lit(1.0), "known_user": known})
        .drop("user_since")
    )


def serve_requests(events: DataFrame, ds: date, lookback_days: int, seed: int) -> DataFrame:
    """One row per (user, query) seen in the last ``lookback_days`` days of the night: what is scored."""
    end = ds + timedelta(days=1)
    recent = events.where(F.col("time") >= _midnight(end - timedelta(days=lookback_days)))
    pairs = recent.where(F.col("time") < _midnight(end)).select("user", "query").distinct()
    return pairs.withColumns({"as_of": F.lit(end), "time": _midnight(end)}).select(
        F.lit("serve").alias("split"),
        "as_of",
        request_id(seed).alias("request_id"),
        "user",
        "query",
        F.lit(-1).alias("item"),
        F.lit(None).cast("double").alias("label"),
        "time",
        F.lit("").alias("event_id"),
        F.lit(True).alias("known_user"),
    )


def _midnight(day: date) -> Column:
    return F.lit(str(day)).cast("timestamp")
