"""Which ROIs a night needs, before any neighbour is known: requests with their positives, and (window, item) pairs.

Spark orders the events of requests; the grouping by request is left to Arrow and numpy in the task that samples
(``collect_list`` by request cost more than all the rest of a night's ROIs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.roi.kernel import Tree

IDENTITY = ("side", "as_of", "shard", "split", "root", "user", "query", "time")


@dataclass(frozen=True)
class Plan:
    """A physical plan: ``finish`` makes the final rows, without ``ds``, of each partition of ``parts``."""

    parts: DataFrame
    finish: Callable[[pa.Table], Iterator[pa.Table]]


ORDER = ("as_of", "shard", "user", "root")


def request_events(requests: DataFrame, shards: int) -> DataFrame:
    """One row per event of a request, its root being the request_id."""
    return requests.select(
        F.lit("request").alias("side"),
        "as_of",
        F.pmod(F.xxhash64("request_id"), F.lit(shards)).cast("int").alias("shard"),
        "split",
        F.col("request_id").alias("root"),
        "user",
        "query",
        "item",
        "time",
    )


def item_events(nodes: DataFrame, as_ofs: Sequence[date]) -> DataFrame:
    """One row per window and item, the item being the root: what a window has not seen yet gets an empty tree."""
    return nodes.where(F.col("node_type") == "item").select(
        F.lit("item").alias("side"),
        F.explode(F.array(*(F.lit(as_of) for as_of in as_ofs))).alias("as_of"),
        F.lit(0).alias("shard"),
        F.lit("item").alias("split"),
        F.col("id").cast("long").alias("root"),
        F.lit(-1).alias("user"),
        F.lit(-1).alias("query"),
        F.lit(-1).alias("item"),
        F.lit(None).cast("timestamp").alias("time"),
    )


def in_ranges(requests: DataFrame, items: DataFrame, partitions: int) -> DataFrame:
    """All requests of a user in one partition, so that his history is read once; items by window. In a partition the
    rows of a window lie together, its positives in an order drawn by a keyed hash."""
    by_user, by_window = requests.repartitionByRange(partitions, "user"), items.repartitionByRange(partitions, *ORDER)
    return by_user.sortWithinPartitions(*ORDER, F.xxhash64("root", "item"), "item").union(
        by_window.sortWithinPartitions(*ORDER)
    )


def by_window(events: pa.Table) -> Iterator[tuple[str, date, pa.Table]]:
    """Rows with positives out of a task's ordered events, in parts of one side and window."""
    bounds = [*_starts(events, ("side", "as_of")), len(events)]
    for start, end in pairwise(bounds):
        part = _with_positives(events.slice(start, end - start))
        yield part["side"][0].as_py(), part["as_of"][0].as_py(), part


def roots(rows: pa.Table, side: str) -> NDArray[np.int32]:
    """Root ids [B, R] in the order of the side's layout."""
    names = ("user", "query") if side == "request" else ("root",)
    return np.stack([rows[name].to_numpy().astype(np.int32) for name in names], axis=1)


def with_trees(rows: pa.Table, tree: Tree, repeats_B: NDArray[np.int32]) -> pa.Table:
    """The rows with their trees, and how many positives their users had before."""
    lists: dict[str, NDArray] = {
        "neighbours": tree.neighbours_BS, "relevance": tree.relevance_BS, "linked": tree.linked_BH, "ages": tree.ages_BH
    }  # fmt: skip
    for name, values in lists.items():
        offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * values.shape[1])
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, pa.array(values.ravel())))
    return rows.append_column("repeats", pa.array(repeats_B))


def _with_positives(events: pa.Table) -> pa.Table:
    """One row per root; its distinct items in their order, without -1, are the positives."""
    starts, item = _starts(events, ("root",)), events["item"].to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(starts)), np.diff([*starts, len(item)]))
    _, first = np.unique(row << 32 | (item & 0xFFFFFFFF), return_index=True)
    kept = np.sort(first[item[first] >= 0])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=len(starts)))]).astype(np.int32)
    positives = pa.ListArray.from_arrays(pa.array(offsets), pa.array(item[kept].astype(np.int32)))
    return events.take(pa.array(starts)).select(list(IDENTITY)).append_column("positives", positives)


def _starts(events: pa.Table, keys: Sequence[str]) -> NDArray[np.int64]:
    """Where a new value of the keys begins in rows that are ordered by them."""
    new = np.zeros(len(events), bool)
    new[:1] = True
    for key in keys:
        column = events[key].combine_chunks()
        new[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(new)
