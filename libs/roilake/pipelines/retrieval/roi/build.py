"""One logical operator, events -> rows with trees, with two physical plans that give the same rows."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi.buckets import Buckets, write_buckets
from roilake.pipelines.retrieval.roi.cache import remove_stores, store_files
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.pipelines.retrieval.roi.local import Sampling, plan_locally
from roilake.pipelines.retrieval.roi.planner import Choice, choose_plan
from roilake.pipelines.retrieval.roi.rows import Plan
from roilake.pipelines.retrieval.roi.shuffled import plan_shuffled

ROWS_A_TASK = 250_000
BUCKET_BYTES = 256_000_000


@contextmanager
def planned(
    lake: Lake,
    config: RetrievalConfig,
    ds: date,
    events: DataFrame,
    as_ofs: Sequence[date],
    rows: int,
    versions: Mapping[str, int],
) -> Iterator[tuple[Plan, Choice]]:
    """The physical plan for the trees of ``events`` (``rows`` of them, see ``retrieval.roi.rows``) of the windows
    ``as_ofs``, cut from the pinned ``versions`` of adjacency and interest_vectors. What it laid out is removed
    at the end. Rows do not depend on the plan or on the number of partitions."""
    files = {
        name: [file for file in lake.active_files(name, versions[name]) if file.partition["ds"] == str(ds)]
        for name in ("adjacency", "interest_vectors")
    }
    choice = choose_plan(lake.spark, config, *files.values())
    stores = store_files(as_ofs, *files.values())
    partitions = max(lake.spark.sparkContext.defaultParallelism, rows // ROWS_A_TASK)
    trees = sampling(config)
    if choice.plan == "local":
        try:
            yield plan_locally(events, trees, stores, partitions), choice
        finally:
            remove_stores(stores)
    else:
        buckets = Buckets(lake.scratch(f"buckets/{uuid.uuid4().hex}"), _bucket_count(choice, partitions))
        try:
            lists = lake.read("adjacency", version=versions["adjacency"])
            write_buckets(lake.spark, _wanted(lists, ds, as_ofs, trees), stores, buckets)
            yield plan_shuffled(events, trees, buckets, list(as_ofs), partitions), choice
        finally:
            shutil.rmtree(buckets.folder, ignore_errors=True)


def _bucket_count(choice: Choice, partitions: int) -> int:
    """Buckets a window: vectors beside the ids make a list about nine times as long as in a store."""
    return max(2 * partitions, 9 * choice.store_bytes // BUCKET_BYTES)


def _wanted(lists: DataFrame, ds: date, as_ofs: Sequence[date], trees: Sampling) -> DataFrame:
    edge_types = {edge_type for layout in trees.layouts.values() for edge_type in layout.edge_types}
    in_windows = F.col("as_of").isin(list(as_ofs)) & F.col("edge_type").isin(sorted(edge_types))
    return lists.where((F.col("ds") == F.lit(ds)) & in_windows)


def sampling(config: RetrievalConfig) -> Sampling:
    """What the config asks for. Raises ConfigError for hops that lead nowhere."""
    layouts = {
        "request": RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS),
        "item": RoiLayout.of(config.roi.item_hops, ITEM_ROOTS),
    }
    return Sampling(layouts, config.roi.sampler, config.seed)
