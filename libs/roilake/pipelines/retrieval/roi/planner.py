"""Which physical plan: local where the stores fit the machines' memory, shuffled where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil
import pyarrow as pa
from pyspark.sql import SparkSession

from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi.store import padded

SHARE = 0.5  # of the memory that is free: the rest is for Spark and its Python workers


@dataclass(frozen=True)
class Choice:
    """The plan, the estimate behind it in bytes, and why, in words."""

    plan: str
    store_bytes: int
    memory_bytes: int
    why: str


def choose_plan(
    spark: SparkSession, config: RetrievalConfig, adjacency: Sequence[DataFile], vectors: Sequence[DataFile]
) -> Choice:
    """The plan of ``roi.plan``, or for ``auto`` the local one if the stores that a machine has open at a time fit
    half of the least memory that a machine has free."""
    windows = {file.partition["as_of"] for file in (*adjacency, *vectors)}
    largest = max((estimate(config, adjacency, vectors, as_of) for as_of in windows), default=0)
    slots = spark.sparkContext.defaultParallelism
    return decide(config, largest * min(len(windows), slots), free_memory(spark, slots))


def decide(config: RetrievalConfig, needed: int, free: int) -> Choice:
    """The plan for stores of ``needed`` bytes on machines that have at least ``free`` ones."""
    configured = config.roi.plan
    fits = needed <= SHARE * free
    plan = configured if configured != "auto" else ("local" if fits else "shuffled")
    why = "as configured" if configured != "auto" else f"stores {'fit' if fits else 'exceed'} half of the free memory"
    return Choice(plan, needed, free, f"{plan} plan, {why}: {needed / 1e6:,.0f} MB of {free / 1e6:,.0f} MB")


def estimate(config: RetrievalConfig, adjacency: Sequence[DataFile], vectors: Sequence[DataFile], as_of: str) -> int:
    """Bytes of a window's store: 4 per edge and 8 per list, and the padded vectors. Edges are not counted but
    bounded: by full lists, and by twice the size of the files (which hold ids and weights, compressed)."""
    lists = [file for file in adjacency if file.partition["as_of"] == as_of]
    full = sum(file.rows for file in lists) * config.graph.max_neighbours * 4
    edges = min(full, 2 * sum(file.bytes for file in lists))
    nodes = sum(file.rows for file in vectors if file.partition["as_of"] == as_of)
    return edges + 8 * sum(file.rows for file in lists) + nodes * padded(config.interest.dim)


def free_memory(spark: SparkSession, slots: int) -> int:
    """Least free memory in bytes among the machines that run tasks."""

    def ask(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"free": [psutil.virtual_memory().available]})

    rows = spark.range(0, slots, 1, slots).mapInArrow(ask, "free long").collect()
    return min(row["free"] for row in rows)
