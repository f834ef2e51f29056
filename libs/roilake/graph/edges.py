"""Events -> decayed interaction edges as of each window's start, in one pass, and their capped adjacency."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

PAIRS = (("user", "query"), ("user", "item"), ("query", "item"))
_UNIT = 2**30
"""Weights are summed as whole multiples of 1/_UNIT: exact, so the order of summing cannot show in the
result."""


def interaction_edges(events: DataFrame, as_of: Iterable[date], half_life_days: float) -> DataFrame:
    """(as_of, edge_type, src, dst, weight, first_time, last_time) for every instant of ``as_of``.

    weight(as_of) = sum over the pair's events with time < as_of of 2^(-(as_of - time) / half_life). Pairs:
    user and query, user and item, query and item of an event, and the items of two adjacent events of a
    session; each in both directions, under its own edge type.

    An event is first summed up at the first instant after it (events of a pair between two instants become
    one row), then carried to the later ones with what has decayed since: 2^-a 2^-b = 2^-(a + b).
    """
    instants = sorted(set(as_of))
    half_life = half_life_days * 86_400
    pairs = _pairs(events).withColumn("bucket", _first_after(F.col("time"), instants))
    pairs = pairs.where(F.col("bucket").isNotNull())
    parts = pairs.groupBy("pair", "src", "dst", "bucket").agg(
        F.sum(_units(_decay(F.col("bucket"), F.col("time"), half_life))).alias("units"),
        F.min("time").alias("first_time"),
        F.max("time").alias("last_time"),
    )
    later = F.filter(_dates(instants), lambda instant: instant >= F.col("bucket"))
    carried = parts.withColumn("as_of", F.explode(later))
    decay = _decay(F.col("as_of"), F.col("bucket"), half_life)
    return (
        carried.groupBy("as_of", "pair", "src", "dst")
        .agg(
            (F.sum(F.round(F.col("units") * decay).cast("long")) / _UNIT).cast("float").alias("weight"),
            F.min("first_time").alias("first_time"),
            F.max("last_time").alias("last_time"),
        )
        .transform(_both_directions)
    )


def _pairs(events: DataFrame) -> DataFrame:
    """(pair, src, dst, time): one row per event and pair of node types, one per two adjacent items."""
    in_session = Window.partitionBy("session").orderBy("time", "event_id")
    before = events.withColumn("before", F.lag("item").over(in_session))
    found = [_pair(f"{a}_{b}", F.col(a), F.col(b)) for a, b in PAIRS]
    adjacent = [F.col("before"), F.col("item")]
    found.append(_pair("item_item", F.least(*adjacent), F.greatest(*adjacent)))
    rows = before.select("time", "before", F.explode(F.array(*found)).alias("found")).select(
        "time", "before", "found.*"
    )
    same = (F.col("pair") == "item_item") & (F.col("before").isNull() | (F.col("src") == F.col("dst")))
    return rows.where(~same & (F.col("src") >= 0) & (F.col("dst") >= 0)).drop("before")


def _pair(name: str, src: Column, dst: Column) -> Column:
    return F.struct(F.lit(name).alias("pair"), src.alias("src"), dst.alias("dst"))


def _both_directions(edges: DataFrame) -> DataFrame:
    ends = F.split("pair", "_")
    forward = F.struct(F.col("pair").alias("edge_type"), "src", "dst")
    reverse = F.concat_ws("_", F.element_at(ends, 2), F.element_at(ends, 1))
    backward = F.struct(reverse.alias("edge_type"), F.col("dst").alias("src"), F.col("src").alias("dst"))
    kept = ["weight", "first_time", "last_time"]
    return edges.select("as_of", F.explode(F.array(forward, backward)).alias("way"), *kept).select(
        "as_of", "way.*", *kept
    )


def _dates(instants: list[date]) -> Column:
    return F.array(*(F.lit(instant) for instant in instants))


def _first_after(time: Column, instants: list[date]) -> Column:
    """The first instant that is strictly after ``time``; null when there is none."""
    return F.element_at(F.filter(_dates(instants), lambda d: d.cast("timestamp") > time), 1)


def _decay(later: Column, earlier: Column, half_life: float) -> Column:
    age = F.unix_micros(later.cast("timestamp")) - F.unix_micros(earlier.cast("timestamp"))
    return F.pow(F.lit(2.0), -age / F.lit(half_life * 1e6))


def _units(weight: Column) -> Column:
    return F.round(weight * _UNIT).cast("long")


def adjacency(edges: DataFrame, max_neighbours: int) -> DataFrame:
    """(as_of, edge_type, src, neighbours, weights): the ``max_neighbours`` strongest by (weight descending,
    id ascending). A hub's list is cut before it is collected."""
    key = ["as_of", "edge_type", "src"]
    strongest = Window.partitionBy(*key).orderBy(F.desc("weight"), "dst")
    ranked = edges.withColumn("rank", F.row_number().over(strongest)).where(F.col("rank") <= max_neighbours)
    lists = ranked.groupBy(*key).agg(
        F.array_sort(F.collect_list(F.struct("rank", "dst", "weight"))).alias("kept")
    )
    return lists.select(*key, F.col("kept.dst").alias("neighbours"), F.col("kept.weight").alias("weights"))
