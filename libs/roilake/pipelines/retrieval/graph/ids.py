"""Keys -> dense ids that never change, and events by id."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.events import NODE_TYPES


def assign_ids(seen: DataFrame, known: DataFrame, ds: date) -> DataFrame:
    """(node_type, key, id, ds) of the keys of ``seen`` (node_type, key, first_time) that ``known`` lacks: dense from
    the largest known id of the type on, in order of (first time, hash of the key, key)."""
    new = seen.join(known, on=["node_type", "key"], how="left_anti")
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
