"""The local plan: every machine holds the windows' stores, a task runs all hops of its rows, no hop shuffles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame

from roilake.pipelines.retrieval.roi.cache import StoreFiles, open_store
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.pipelines.retrieval.roi.rows import Plan, by_window, in_ranges, roots, with_trees


@dataclass(frozen=True)
class Sampling:
    """What to sample: the tree of each side ("request", "item"), the sampler, and the seed of ``uniform``."""

    layouts: Mapping[str, RoiLayout]
    sampler: str
    seed: int


def plan_locally(events: DataFrame, sampling: Sampling, stores: Mapping[date, StoreFiles], partitions: int) -> Plan:
    """Trees of the ``events`` (see ``retrieval.roi.rows``); rows do not depend on ``partitions``."""

    def sample(events: pa.Table) -> Iterator[pa.Table]:
        for side, as_of, rows in by_window(events):
            layout, store = sampling.layouts[side], open_store(stores[as_of])
            yield with_trees(rows, *store.sample(layout, roots(rows, side), sampling.sampler, sampling.seed))

    return Plan(in_ranges(events, partitions), sample)
