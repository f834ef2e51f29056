"""Events and similar pairs -> the moments that edges sum up: one row per directed pair and event."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

EDGE_TYPES = (
    "user_query", "query_user", "user_item", "item_user", "query_item", "item_query",
    "item_item", "item_item_similar", "query_item_similar", "item_query_similar",
)  # fmt: skip
"""Moments hold an edge type as its position here."""


def interaction_moments(events: DataFrame) -> DataFrame:
    """(edge_type, src, dst, time, weight): user-query, user-item, query-item of an event, and the items of
    two adjacent events of a session, both ways; ``weight`` is null (it decays with time). ``events`` is by
    id."""
    in_session = Window.partitionBy("session").orderBy("time", "event_id")
    before = F.lag("item").over(in_session)
    nodes = {kind: F.col(kind) for kind in ("user", "query", "item")}
    pairs = [_pair(name, *(nodes[kind] for kind in name.split("_"))) for name in EDGE_TYPES[:6]]
    known = F.col("before").isNotNull() & (F.col("before") != F.col("item"))
    adjacent = [
        F.when(known, _pair("item_item", *ends))
        for ends in ((F.col("before"), F.col("item")), (F.col("item"), F.col("before")))
    ]
    return (
        events.withColumn("before", before)
        .select("time", F.explode(F.array(*pairs, *adjacent)).alias("pair"))
        .where((F.col("pair.src") >= 0) & (F.col("pair.dst") >= 0))
        .select("pair.*", "time", F.lit(None).cast("float").alias("weight"))
    )


def similarity_moments(pairs: DataFrame) -> DataFrame:
    """The same columns from similar pairs: ``time`` is when both nodes had been seen, ``weight`` does not
    decay."""
    codes = F.create_map(*(F.lit(part) for code, name in enumerate(EDGE_TYPES) for part in (name, code)))
    code = F.element_at(codes, F.col("edge_type"))
    return pairs.select(code.alias("edge_type"), "src", "dst", F.col("first_time").alias("time"), "weight")


def _pair(name: str, src: Column, dst: Column) -> Column:
    code = F.lit(EDGE_TYPES.index(name))
    return F.struct(code.alias("edge_type"), src.alias("src"), dst.alias("dst"))
