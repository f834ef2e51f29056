"""One logical operator, events -> rows with trees, with two physical plans that give the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date

from pyspark.sql import DataFrame

from roilake.config import NightConfig
from roilake.lake import Lake
from roilake.roi.cache import remove_stores, store_files
from roilake.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.roi.local import Sampling, plan_locally
from roilake.roi.planner import Choice, choose_plan
from roilake.roi.rows import Plan

ROWS_A_TASK = 250_000


@contextmanager
def planned(
    lake: Lake,
    config: NightConfig,
    ds: date,
    events: DataFrame,
    as_ofs: Sequence[date],
    rows: int,
    versions: Mapping[str, int],
) -> Iterator[tuple[Plan, Choice]]:
    """The physical plan for the trees of ``events`` (``rows`` of them, see ``roilake.roi.rows``) of the windows
    ``as_ofs``, cut from the pinned ``versions`` of adjacency and interest_vectors. What it laid out is removed
    at the end. Rows do not depend on the plan or on the number of partitions."""
    files = {
        name: [file for file in lake.active_files(name, versions[name]) if file.partition["ds"] == str(ds)]
        for name in ("adjacency", "interest_vectors")
    }
    choice = choose_plan(lake.spark, config, *files.values())
    stores = store_files(as_ofs, *files.values())
    partitions = max(lake.spark.sparkContext.defaultParallelism, rows // ROWS_A_TASK)
    try:
        yield plan_locally(events, sampling(config), stores, partitions), choice
    finally:
        remove_stores(stores)


def sampling(config: NightConfig) -> Sampling:
    """What the config asks for. Raises ConfigError for hops that lead nowhere."""
    layouts = {
        "request": RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS),
        "item": RoiLayout.of(config.roi.item_hops, ITEM_ROOTS),
    }
    return Sampling(layouts, config.roi.sampler, config.seed)
