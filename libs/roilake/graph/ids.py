"""Keys -> dense ids that never change, and events by id."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.events import NODE_TYPES


def assign_ids(events: DataFrame, known: DataFrame, ds: date) -> DataFrame:
    """(node_type, key, id, ds) of the keys of ``events`` that ``known`` (same columns) lacks: dense from the
    largest known id of the type on, in order of (first time, hash of the key, key)."""
    new = node_times(events).join(known, on=["node_type", "key"], how="left_anti")
    taken = known.groupBy("node_type").agg((F.max("id") + 1).alias("taken"))
    order = Window.partitionBy("node_type").orderBy("first_time", F.xxhash64("key"), "key")
    return (
        new.select("node_type", "key", F.row_number().over(order).alias("position"))
        .join(F.broadcast(taken), on="node_type", how="left")
        .select(
            "node_type",
            "key",
            (F.col("position") - 1 + F.coalesce("taken", F.lit(0))).cast("int").alias("id"),
            F.lit(ds).alias("ds"),
        )
    )


def node_times(events: DataFrame) -> DataFrame:
    """(node_type, key, first_time) of all keys in events."""
    keys = [F.struct(F.lit(kind).alias("node_type"), F.col(kind).alias("key")) for kind in NODE_TYPES]
    return (
        events.select("time", F.explode(F.array(*keys)).alias("node"))
        .select("time", "node.*")
        .where(F.col("key").isNotNull())
        .groupBy("node_type", "key")
        .agg(F.min("time").alias("first_time"))
    )


def indexed(events: DataFrame, ids: DataFrame) -> DataFrame:
    """Events with the ids of user, query (-1 for none) and item in place of their keys."""
    for node_type in NODE_TYPES:
        of_type = ids.where(F.col("node_type") == node_type)
        keyed = of_type.select(F.col("key").alias(node_type), F.col("id").alias(f"{node_type}_id"))
        events = events.join(keyed, on=node_type, how="left")
    query = F.coalesce("query_id", F.lit(-1))
    return events.select(
        "event_id",
        "time",
        F.col("user_id").alias("user"),
        query.alias("query"),
        F.col("item_id").alias("item"),
        "session",
    )


def first_seen(events: DataFrame, ids: DataFrame) -> DataFrame:
    """(node_type, id, first_time): when each node was first seen."""
    return (
        node_times(events)
        .join(ids, on=["node_type", "key"], how="inner")
        .select("node_type", "id", "first_time")
    )
