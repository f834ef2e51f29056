"""The same ROIs, and uniform ones, by Spark SQL alone: what the kernel's plans are compared with.

Both take the benchmark's request side: 10 items of the user, 5 users of each item.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

ITEMS, USERS = 10, 5
SIZE = ITEMS * (1 + USERS)


def relevant_rois(requests: DataFrame, adjacency: DataFrame, vectors: DataFrame) -> DataFrame:
    """root, neighbours, relevance by joins and array expressions: the rows of ``build_rois``, to the bit."""
    scale = vectors.agg(F.max(F.array_max(F.transform("vector", F.abs)))).first()[0]
    whole = F.transform("vector", lambda x: F.rint(x.cast("double") * 127 / F.lit(float(scale))).cast("int"))
    quantised = vectors.select("node_type", "id", whole.alias("v")).withColumn("vv", _dot(F.col("v"), F.col("v")))
    user, query = (_renamed(quantised, kind) for kind in ("user", "query"))
    focal = F.zip_with("v_user", "v_query", lambda a, b: a + b)
    asked = (
        requests.select(F.col("request_id").alias("root"), "user", "query")
        .join(user, on="user", how="inner")
        .join(query, on="query", how="inner")
        .select("root", F.col("user").alias("asker"), "user", focal.alias("f"))
        .withColumn("ff", _dot(F.col("f"), F.col("f")))
        .withColumn("parent", F.lit(0))
    )
    first = _hop(asked, adjacency, quantised, "user", "item", ITEMS)
    second = _hop(first.withColumn("parent", F.col("place")), adjacency, quantised, "item", "user", USERS)
    at_second = ITEMS + F.col("parent") * USERS + F.col("place")
    kept = first.select("root", F.col("place").alias("at"), F.col("item").alias("id"), "r").unionByName(
        second.select("root", at_second.alias("at"), F.col("user").alias("id"), "r")
    )
    entry = F.struct("at", F.struct("id", F.rint(127 * F.col("r")).cast("tinyint").alias("q")))
    found = kept.groupBy("root").agg(F.map_from_entries(F.collect_list(entry)).alias("m"))
    slots = F.sequence(F.lit(0), F.lit(SIZE - 1))
    return found.select(
        "root",
        F.transform(slots, lambda i: F.coalesce(F.col("m")[i]["id"], F.lit(-1))).alias("neighbours"),
        F.transform(slots, lambda i: F.coalesce(F.col("m")[i]["q"], F.lit(0)).cast("tinyint")).alias("relevance"),
    )


def uniform_rois(requests: DataFrame, user_item: DataFrame, item_user: DataFrame) -> DataFrame:
    """root and neighbours, drawn evenly: join, collect_list, order by hash, slice. No relevance."""
    asked = requests.select(F.col("request_id").alias("root"), F.col("user").alias("src"))
    first = _drawn(asked.join(user_item, on="src", how="inner"), ["root"], ITEMS)
    exploded = first.select("root", F.posexplode("kept").alias("parent", "src"))
    second = _drawn(exploded.join(item_user, on="src", how="inner"), ["root", "parent"], USERS)
    leaves = second.groupBy("root").agg(F.flatten(F.collect_list("kept")).alias("leaves"))
    joined = first.join(leaves, on="root", how="left")
    return joined.select("root", F.concat("kept", F.coalesce("leaves", F.array())).alias("neighbours"))


def _hop(asked: DataFrame, adjacency: DataFrame, quantised: DataFrame, src: str, dst: str, fanout: int) -> DataFrame:
    lists = adjacency.where(F.col("edge_type") == f"{src}_{dst}").select(F.col("src").alias(src), "neighbours")
    columns = ["root", "asker", "parent", "f", "ff"]
    candidates = asked.join(lists, on=src, how="inner").select(*columns, F.posexplode("neighbours").alias("pos", dst))
    if dst == "user":
        candidates = candidates.where(F.col("user") != F.col("asker"))
    scored = candidates.join(_renamed(quantised, dst), on=dst, how="inner")
    scored = scored.withColumn("fv", _dot(F.col("f"), F.col(f"v_{dst}")))
    rest = F.col("ff") + F.col(f"vv_{dst}") - F.col("fv")
    scored = scored.withColumn("r", F.when(rest == 0, 0.0).otherwise(F.col("fv") / rest))
    best = Window.partitionBy("root", "parent").orderBy(F.desc("r"), "pos")
    ranked = scored.withColumn("place", F.row_number().over(best) - 1).where(F.col("place") < fanout)
    return ranked.select(*columns, dst, "place", "r")


def _drawn(joined: DataFrame, keys: list[str], fanout: int) -> DataFrame:
    drawn = F.struct(F.xxhash64(*keys, "dst").alias("draw"), "dst")
    ordered = F.slice(F.array_sort(F.collect_list(drawn)), 1, fanout)
    return joined.groupBy(*keys).agg(F.transform(ordered, lambda e: e["dst"]).alias("kept"))


def _renamed(quantised: DataFrame, kind: str) -> DataFrame:
    columns = (F.col("id").alias(kind), F.col("v").alias(f"v_{kind}"), F.col("vv").alias(f"vv_{kind}"))
    return quantised.where(F.col("node_type") == kind).select(*columns)


def _dot(a: Column, b: Column) -> Column:
    return F.aggregate(F.zip_with(a, b, lambda x, y: x * y), F.lit(0), lambda total, x: total + x)
