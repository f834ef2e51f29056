"""Nodes, features and edges by number, and the split of the known labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.ingest import numbered
from roilake.pipelines.node_labels.config import LabelSplit

_HASHES = 1 << 24


def with_split(nodes: DataFrame, shares: LabelSplit, seed: int) -> DataFrame:
    """``split`` by a keyed hash of a node's type and key: which nodes are in it depends on no other node."""
    drawn = F.pmod(F.xxhash64(F.lit("split"), F.lit(seed), "node_type", "key"), F.lit(_HASHES)) / _HASHES
    known = F.when(drawn < shares.test, "test").when(drawn < shares.test + shares.validation, "validation")
    split = F.when(~F.col("sought"), "other").when(F.col("label").isNull(), "unlabelled")
    return nodes.withColumn("split", F.coalesce(split, known, F.lit("train"))).drop("sought")


@contextmanager
def feature_names(nodes: DataFrame, minimum: int) -> Iterator[DataFrame]:
    """(feature, name, nodes) of what at least ``minimum`` nodes have, numbered by name; see ``numbered``."""
    counts = nodes.select(F.explode("features").alias("name")).groupBy("name").agg(F.count(F.lit(1)).alias("nodes"))
    with numbered(counts.where(F.col("nodes") >= minimum), "feature", "name") as names:
        yield names


def with_features(nodes: DataFrame, names: DataFrame) -> DataFrame:
    """Nodes whose features are numbers, ascending."""
    had = nodes.select("node", F.explode("features").alias("name")).join(names, on="name", how="inner")
    lists = had.groupBy("node").agg(F.sort_array(F.collect_set("feature")).alias("numbers"))
    numbers: Column = F.coalesce("numbers", F.array().cast("array<int>"))
    return nodes.join(lists, on="node", how="left").withColumn("features", numbers).drop("numbers")


def pairs(edges: DataFrame, nodes: DataFrame) -> DataFrame:
    """(src, dst) of edges by type and key, src < dst, each pair once; loops are left out."""
    for side in ("source", "target"):
        ends = nodes.select(
            F.col("node").alias(side), F.col("node_type").alias(f"{side}_type"), F.col("key").alias(f"{side}_key")
        )
        edges = edges.join(ends, on=[f"{side}_type", f"{side}_key"], how="inner")
    src, dst = F.least("source", "target"), F.greatest("source", "target")
    return edges.select(src.alias("src"), dst.alias("dst")).where("src < dst").distinct()
