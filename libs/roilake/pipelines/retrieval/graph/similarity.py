"""Similarity edges: candidates by MinHash (Spark ML's), filtered by their exact Jaccard similarity over terms; and the
rows of ``edges`` and ``adjacency`` that they make as of each instant, by plain numpy on one task's share.

Broder 1997: two sets share the minimum of a random hash with probability |A and B| / |A or B|. The number of hash
tables and the thresholds are ours; the paper's are not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.config import EDGE_TYPES, SimilarityConfig
from roilake.pipelines.retrieval.graph.plan import micros


def similar_pairs(nodes: DataFrame, config: SimilarityConfig, seed: int) -> DataFrame | None:
    """(edge_type, src, dst, weight, first_time) of all similar pairs of the edge types in ``config``; query-item ones
    both ways. ``nodes`` has (node_type, id, terms, first_time), and is read several times; ``first_time`` of a pair is
    the moment from which both had been seen. None when no edge type has nodes with terms."""
    with_terms = nodes.where(F.size("terms") > 0).select("node_type", "id", "terms", "first_time")
    kinds = {row["node_type"] for row in with_terms.select("node_type").distinct().collect()}
    found = [
        _pairs_of_type(with_terms, edge_type, config, seed)
        for edge_type in config.edge_types
        if kinds.issuperset(edge_type.split("_")[:2])
    ]
    return reduce(DataFrame.unionByName, found) if found else None


def _pairs_of_type(with_terms: DataFrame, edge_type: str, config: SimilarityConfig, seed: int) -> DataFrame:
    """Pairs that share a minimum in at least one of ``hash_tables`` tables and whose term sets have weight =
    |A and B| / |A or B| >= ``min_jaccard``."""
    src_type, dst_type = edge_type.split("_")[:2]
    from pyspark.ml.feature import HashingTF, MinHashLSH  # here, so that tasks need not load Spark ML

    # Spark may hash before it filters, and MinHash refuses empty sets: give those a term of their own.
    never_empty = F.when(F.size("terms") > 0, F.col("terms")).otherwise(F.array(F.lit("")))
    hashing = HashingTF(inputCol="hashable", outputCol="features", binary=True)
    hashed = hashing.transform(with_terms.withColumn("hashable", never_empty))
    lsh = MinHashLSH(inputCol="features", outputCol="minima", numHashTables=config.hash_tables, seed=seed)
    left, right = (hashed.where(F.col("node_type") == kind).drop("node_type") for kind in (src_type, dst_type))
    # Hashed features may collide, which only adds to their similarity: the exact one is checked below.
    near = lsh.fit(hashed).approxSimilarityJoin(left, right, 1.0 - config.min_jaccard + 1e-6)
    both = F.size(F.array_intersect("datasetA.terms", "datasetB.terms"))
    either = F.size(F.array_union("datasetA.terms", "datasetB.terms"))
    pairs = near.select(
        F.lit(edge_type).alias("edge_type"),
        F.col("datasetA.id").alias("src"),
        F.col("datasetB.id").alias("dst"),
        (both / either).cast("float").alias("weight"),
        F.greatest("datasetA.first_time", "datasetB.first_time").alias("first_time"),
    ).where(F.col("weight") >= F.lit(config.min_jaccard).cast("float"))
    if src_type == dst_type:
        return pairs.where(F.col("src") != F.col("dst"))
    back = pairs.select(
        F.lit(f"{dst_type}_{src_type}_similar").alias("edge_type"),
        F.col("dst").alias("src"),
        F.col("src").alias("dst"),
        "weight",
        "first_time",
    )
    return pairs.unionByName(back)


def similarity_contributions(pairs: DataFrame) -> DataFrame:
    """(edge_type, src, dst, time, weight) of similar pairs, the edge type as its position in ``EDGE_TYPES``: ``time``
    is when both nodes had been seen, ``weight`` does not decay."""
    codes = F.create_map(*(F.lit(part) for code, name in enumerate(EDGE_TYPES) for part in (name, code)))
    code = F.element_at(codes, F.col("edge_type"))
    return pairs.select(code.alias("edge_type"), "src", "dst", F.col("first_time").alias("time"), "weight")


@dataclass(frozen=True)
class SimilarityRules:
    """How many similar and how many neighbours at all a node keeps; ``with_edges``: whether ``edges`` has rows.

    A task's share holds all pairs of its (edge type, source), so lists are cut where they are made."""

    ds: date
    instants: tuple[date, ...]
    top_similar: int
    max_neighbours: int
    with_edges: bool

    def tables(self, contributions: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """For every instant the strongest pairs of each source, ties to the smaller target, among those whose nodes had
        both been seen before it. Weights do not decay."""
        strength = -contributions["weight"].to_numpy()
        keys = (
            contributions["dst"].to_numpy(),
            strength,
            contributions["src"].to_numpy(),
            contributions["edge_type"].to_numpy(),
        )
        ordered = contributions.take(pa.array(np.lexsort(keys)))
        time = ordered["time"].cast(pa.timestamp("us", "UTC"))
        for instant, at in zip(self.instants, micros(self.instants), strict=True):
            seen = ordered.filter(pa.array(time.cast(pa.int64()).to_numpy() < at))
            kept = seen.filter(pa.array(_ranks(seen) < self.top_similar))
            if not len(kept):
                continue
            if self.with_edges:
                yield "edges", self._edges(instant, kept)
            yield "adjacency", self._lists(instant, kept)

    def _edges(self, instant: date, kept: pa.Table) -> pa.Table:
        time = kept["time"].cast(pa.timestamp("us", "UTC"))
        columns = {name: kept[name] for name in ("src", "dst", "weight")}
        return self._labelled(instant, kept["edge_type"], columns | {"first_time": time, "last_time": time})

    def _lists(self, instant: date, kept: pa.Table) -> pa.Table:
        rank = _ranks(kept)
        cut = kept.filter(pa.array(rank < self.max_neighbours)).combine_chunks()
        starts = np.flatnonzero(rank[rank < self.max_neighbours] == 0)
        ends = pa.array(np.append(starts, len(cut)), pa.int32())
        lists = {
            name: pa.ListArray.from_arrays(ends, cut[values].combine_chunks())
            for name, values in (("neighbours", "dst"), ("weights", "weight"))
        }
        first = cut.take(pa.array(starts))
        return self._labelled(instant, first["edge_type"], {"src": first["src"]} | lists)

    def _labelled(self, instant: date, codes: pa.ChunkedArray, columns: dict[str, pa.Array]) -> pa.Table:
        labels = {"ds": pa.scalar(self.ds), "as_of": pa.scalar(instant)}
        repeated = {name: pa.repeat(value, len(codes)) for name, value in labels.items()}
        return pa.table(repeated | {"edge_type": pa.array(EDGE_TYPES).take(codes.combine_chunks())} | columns)


def _ranks(rows: pa.Table) -> NDArray[np.int64]:
    """Place of each row, from 0, in its run of equal edge type and source."""
    starts = np.zeros(len(rows), bool)
    starts[:1] = True
    for name in ("edge_type", "src"):
        column = rows[name].to_numpy()
        starts[1:] |= column[1:] != column[:-1]
    return np.arange(len(rows)) - np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
