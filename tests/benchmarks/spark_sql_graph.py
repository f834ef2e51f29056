"""The graph build as plain Spark SQL does it: sums by pair, then whole lists by node, sorted and cut."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.graph import indexed

TYPES = ("user_item", "item_user", "user_query", "query_user", "query_item", "item_query", "item_item")


def adjacency(events: DataFrame, ids: DataFrame, as_of: date, half_life_days: float, most: int) -> DataFrame:
    """(edge_type, src, neighbours, weights) as of an instant."""
    instant = F.lit(str(as_of)).cast("timestamp")
    age = (F.unix_micros(instant) - F.unix_micros("time")) / F.lit(half_life_days * 86_400e6)
    before = F.lag("item").over(Window.partitionBy("session").orderBy("time", "event_id"))
    by_id = indexed(events.where(F.col("time") < instant), ids.withColumn("since", F.lit(None))).select(
        "user", "query", "item", before.alias("before"), F.pow(F.lit(2.0), -age).alias("weight")
    )
    adjacent = F.col("before").isNotNull() & (F.col("before") != F.col("item"))
    pairs = [_pair(name, *(F.col(end) for end in name.split("_"))) for name in TYPES[:6]]
    pairs += [
        F.when(adjacent, _pair("item_item", *ends))
        for ends in ((F.col("before"), F.col("item")), (F.col("item"), F.col("before")))
    ]
    sums = (
        by_id.select("weight", F.explode(F.array(*pairs)).alias("pair"))
        .where((F.col("pair.src") >= 0) & (F.col("pair.dst") >= 0))
        .groupBy("pair.edge_type", "pair.src", "pair.dst")
        .agg(F.sum("weight").cast("float").alias("weight"))
    )
    strength = F.struct((-F.col("weight")).alias("strength"), "dst", "weight")
    lists = sums.groupBy("edge_type", "src").agg(F.slice(F.sort_array(F.collect_list(strength)), 1, most).alias("best"))
    neighbours, weights = F.col("best.dst").alias("neighbours"), F.col("best.weight").alias("weights")
    return lists.select("edge_type", "src", neighbours, weights)


def _pair(name: str, src: F.Column, dst: F.Column) -> F.Column:
    return F.struct(F.lit(name).alias("edge_type"), src.alias("src"), dst.alias("dst"))
