"""One logical operator, events -> rows with trees, with two physical plans that give the same rows.

Local where the windows' stores fit the machines' memory: every machine holds them, a task runs all hops of its rows, no
hop shuffles. Shuffled where they do not."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import psutil
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.feed import files_of
from roilake.lake import DataFile, Lake
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.retrieval.config import RelevanceWeights, RetrievalConfig
from roilake.pipelines.retrieval.histories import history_files
from roilake.pipelines.retrieval.roi.buckets import Buckets, write_buckets
from roilake.pipelines.retrieval.roi.cache import StoreFiles, open_store, remove_stores, store_files
from roilake.pipelines.retrieval.roi.history import read_histories, start_trees
from roilake.pipelines.retrieval.roi.rows import Plan, by_window, in_ranges, roots, with_trees
from roilake.pipelines.retrieval.roi.sampling import Sampling, sample_tree
from roilake.pipelines.retrieval.roi.shuffled import plan_shuffled
from roilake.pipelines.retrieval.roi.store import padded

ROWS_A_TASK = 250_000
EVENTS_A_TASK, EVENT_BYTES = 16_000_000, 40
"""Of the histories, which a task holds in memory: 16 bytes each, and more while it reads them."""
BUCKET_BYTES = 256_000_000
GRAPH = ("adjacency", "interest_vectors")
SHARE = 0.5  # of the memory that is free: the rest is for Spark and its Python workers


class Tables(NamedTuple):
    """Pinned versions of what regions are cut from."""

    adjacency: int
    interest_vectors: int
    histories: int


@contextmanager
def planned(
    lake: Lake,
    config: RetrievalConfig,
    ds: date,
    requests: DataFrame,
    items: DataFrame,
    rows: int,
    as_ofs: Sequence[date],
    versions: Tables,
    weights: RelevanceWeights,
) -> Iterator[tuple[Plan, Choice]]:
    """The physical plan for the trees of ``requests`` and ``items`` (``rows`` of them together, see ``retrieval.roi.
    rows``) of the windows ``as_ofs``, cut from pinned tables. What it laid out is removed at the end. Rows do not
    depend on the plan or on the number of partitions."""
    files = [files_of(lake, name, version, ds=ds) for name, version in versions._asdict().items() if name in GRAPH]
    known = history_files(lake, versions.histories, ds)
    choice = choose_plan(lake.spark, config, *files)
    stores = store_files(as_ofs, *files)
    trees = Sampling.of(config, weights)
    tasks = max(rows // ROWS_A_TASK, sum(file.rows for file in known) // EVENTS_A_TASK)
    partitions = max(lake.spark.sparkContext.defaultParallelism, tasks)
    events = in_ranges(requests, items, partitions)
    if choice.plan == "local":
        try:
            yield plan_locally(events, trees, stores, known), choice
        finally:
            remove_stores(stores)
    else:
        with scratch_folder(lake.scratch(f"buckets/{uuid.uuid4().hex}")) as folder:
            buckets = Buckets(folder, _bucket_count(choice, partitions))
            lists = lake.read("adjacency", version=versions.adjacency)
            write_buckets(lake.spark, _wanted(lists, ds, as_ofs, trees), stores, buckets)
            yield plan_shuffled(events, trees, buckets, list(as_ofs), known, partitions), choice


def _bucket_count(choice: Choice, partitions: int) -> int:
    """Buckets a window: vectors beside the ids make a list about nine times as long as in a store."""
    return max(2 * partitions, 9 * choice.store_bytes // BUCKET_BYTES)


def _wanted(lists: DataFrame, ds: date, as_ofs: Sequence[date], trees: Sampling) -> DataFrame:
    slots = (slot for layout in trees.layouts.values() for slot in layout.slots)
    edge_types = {slot.edge_type for slot in slots if slot.place is None}
    in_windows = F.col("as_of").isin(list(as_ofs)) & F.col("edge_type").isin(sorted(edge_types))
    return lists.where((F.col("ds") == F.lit(ds)) & in_windows)


def plan_locally(
    events: DataFrame, sampling: Sampling, stores: Mapping[date, StoreFiles], known: Sequence[DataFile]
) -> Plan:
    """Trees of the ``events`` (see ``in_ranges``), with what the files ``known`` tell of users' histories."""

    def sample(events: pa.Table) -> Iterator[pa.Table]:
        histories = read_histories(events, known)
        for side, as_of, rows in by_window(events):
            layout, store = sampling.layouts[side], open_store(stores[as_of])
            tree, focal_BD, repeats_B = start_trees(rows, side, sampling, histories, store.history_graph)
            sample_tree(store, layout, roots(rows, side), focal_BD, sampling.sampler, sampling.seed, tree)
            yield with_trees(rows, tree, repeats_B)

    return Plan(events, sample)


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
