"""Similarity edges: candidates by MinHash (Spark ML's), judged by their exact Jaccard similarity over terms.

Broder 1997: two sets share the minimum of a random hash with probability |A and B| / |A or B|. The number of
hash tables and the thresholds are ours; the paper's are not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pyspark.ml.feature import HashingTF, MinHashLSH
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.config import SimilarityConfig


def similarity_edges(
    nodes: DataFrame, times: DataFrame, as_of: Iterable[date], config: SimilarityConfig, seed: int
) -> DataFrame | None:
    """(as_of, edge_type, src, dst, weight, first_time, last_time): for each node the ``top`` most similar
    ones (ties to the smaller id) among those seen before ``as_of``.

    ``nodes`` has (node_type, id, terms), ``times`` (node_type, id, first_time). Both times of an edge are the
    moment from which both nodes had been seen. None when no edge type has nodes with terms.
    """
    found = [
        similar_pairs(nodes, times, edge_type, config, seed)
        for edge_type in _with_reverse(config.edge_types)
        if _have_terms(nodes, edge_type)
    ]
    if not found:
        return None
    pairs = found[0]
    for more in found[1:]:
        pairs = pairs.unionByName(more)
    instants = F.array(*(F.lit(instant) for instant in sorted(set(as_of))))
    later = F.filter(instants, lambda instant: instant.cast("timestamp") > F.col("first_time"))
    best = Window.partitionBy("as_of", "edge_type", "src").orderBy(F.desc("weight"), "dst")
    return (
        pairs.withColumn("as_of", F.explode(later))
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= config.top)
        .select(
            "as_of", "edge_type", "src", "dst", "weight", "first_time", F.col("first_time").alias("last_time")
        )
    )


def _with_reverse(edge_types: Iterable[str]) -> list[str]:
    """Both directions of each edge type: a node's best ones differ from those it is best for."""
    reverse = {"query_item_similar": "item_query_similar"}
    return [name for given in edge_types for name in (given, *([reverse[given]] if given in reverse else []))]


def _have_terms(nodes: DataFrame, edge_type: str) -> bool:
    kinds = edge_type.split("_")[:2]
    with_terms = nodes.where(F.size("terms") > 0)
    return all(not with_terms.where(F.col("node_type") == kind).isEmpty() for kind in kinds)


def similar_pairs(
    nodes: DataFrame, times: DataFrame, edge_type: str, config: SimilarityConfig, seed: int
) -> DataFrame:
    """(edge_type, src, dst, weight, first_time): pairs that share a minimum in at least one of
    ``hash_tables`` tables and whose term sets have weight = |A and B| / |A or B| >= ``min_jaccard``."""
    with_terms = (
        nodes.where(F.size("terms") > 0)
        .select("node_type", "id", "terms")
        .join(times, on=["node_type", "id"], how="inner")
    )
    hashed = HashingTF(inputCol="terms", outputCol="features", binary=True).transform(with_terms)
    lsh = MinHashLSH(inputCol="features", outputCol="minima", numHashTables=config.hash_tables, seed=seed)
    src_type, dst_type = edge_type.split("_")[:2]
    sides = [hashed.where(F.col("node_type") == kind).drop("node_type") for kind in (src_type, dst_type)]
    # Hashed features may collide, which only adds to their similarity: the exact one is checked below.
    near = lsh.fit(hashed).approxSimilarityJoin(*sides, threshold=1.0 - config.min_jaccard + 1e-6)
    both = F.size(F.array_intersect("datasetA.terms", "datasetB.terms"))
    either = F.size(F.array_union("datasetA.terms", "datasetB.terms"))
    pairs = near.select(
        F.lit(edge_type).alias("edge_type"),
        F.col("datasetA.id").alias("src"),
        F.col("datasetB.id").alias("dst"),
        (both / either).alias("jaccard"),
        F.greatest("datasetA.first_time", "datasetB.first_time").alias("first_time"),
    ).where(F.col("jaccard") >= config.min_jaccard)
    if src_type == dst_type:
        pairs = pairs.where(F.col("src") != F.col("dst"))
    return pairs.withColumn("weight", F.col("jaccard").cast("float")).drop("jaccard")
