"""The shuffled plan: hop by hop, the frontier travels to the buckets that hold its lists, and is scored there.

The graph never moves. A frontier record carries its focal, so that nothing but the list at hand is read; what is kept
goes on as the next frontier and, in the end, by root to where the trees are put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.errors import RoilakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.roi.buckets import Buckets
from roilake.pipelines.retrieval.roi.history import read_histories, start_trees
from roilake.pipelines.retrieval.roi.kernel import Queries, expand
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.pipelines.retrieval.roi.rows import Plan, by_window, roots
from roilake.pipelines.retrieval.roi.sampling import Sampling, list_keys, mix, skipped
from roilake.pipelines.retrieval.roi.shuffle_blocks import (
    SPARK_SCHEMA,
    Blocks,
    assemble,
    blocks,
    opened,
    pack,
    unpack,
    with_histories,
)  # fmt: skip
from roilake.pipelines.retrieval.roi.store import NODE_TYPES

SIDES = ("request", "item")


@dataclass(frozen=True)
class Shuffled:
    """The plan's parts that run in tasks. A *window* is the number of an as_of, twice, plus that of the side."""

    sampling: Sampling
    buckets: Buckets
    as_ofs: tuple[date, ...]
    known: tuple[DataFile, ...]  # of table histories
    keys: NDArray[np.int32]  # by partition: an integer that Spark hashes to it

    def seed(self, batches: Iterable[pa.RecordBatch]) -> Blocks:
        """The rows with their history slots, and the first frontier."""
        events = pa.Table.from_batches(list(batches))
        histories = read_histories(events, self.known)
        for side, as_of, rows in by_window(events):
            layout = self.sampling.layouts[side]
            window = 2 * self.as_ofs.index(as_of) + SIDES.index(side)
            roots_BR, root_B = roots(rows, side), rows["root"].to_numpy()
            graph = self.buckets.history_graph(as_of)
            tree, focal_BD, repeats_B = start_trees(rows, side, self.sampling, histories, graph)
            yield from blocks(
                "rows", with_histories(rows, layout, tree, repeats_B), self._home(window, root_B), self.keys
            )
            names = ("root", "user", "query")
            frontier = pa.table({"window": np.full(len(rows), window, np.int32), **{n: rows[n] for n in names}})
            frontier = frontier.append_column("focal", pack(focal_BD))
            for index in {slot.root for slot in layout.slots if slot.hop == 1 and slot.place is None}:
                yield from self._ask(frontier, -1 - index, np.zeros(len(rows), np.int32), roots_BR[:, index])
            for number, slot in enumerate(layout.slots):
                if slot.place is not None and layout.children(number):
                    kept_BK = tree.neighbours_BS[:, slot.start : slot.start + slot.size]
                    yield from self._ask_below(frontier, number, np.zeros(len(rows), np.int32), kept_BK)

    def hop(self, batches: Iterable[pa.RecordBatch]) -> Blocks:
        """Expand the frontier records that came here; all else passes."""
        tables, others = opened(batches, "frontier")
        yield from others
        if "frontier" not in tables:
            return
        frontier = tables["frontier"].combine_chunks()
        window_L, slot_L, bucket_L = (frontier[name].to_numpy().astype(np.int64) for name in ("window", "slot", "node"))
        bucket_L %= self.buckets.count
        key_L = packed_keys(window_L, slot_L + len(NODE_TYPES), bucket_L)
        order = np.argsort(key_L, kind="stable")
        frontier, bounds = (
            frontier.take(pa.array(order)),
            np.flatnonzero(np.diff(key_L[order], prepend=-1, append=-1)),
        )
        for start, end in pairwise(bounds):
            yield from self._expand(frontier.slice(start, end - start), int(bucket_L[order[start]]))

    def finish(self, part: pa.Table) -> Iterator[pa.Table]:
        """Put the trees of a partition together, window by window."""
        tables, _ = opened(part.to_batches())
        for key in tables["rows"].group_by(["side", "as_of"]).aggregate([]).to_pylist() if "rows" in tables else []:
            side, window = key["side"], 2 * self.as_ofs.index(key["as_of"]) + SIDES.index(key["side"])
            rows = tables["rows"]
            mine = pc.and_(pc.equal(rows["side"], side), pc.equal(rows["as_of"], key["as_of"]))
            slots = ((number, f"kept/{side}/{number}") for number in range(len(self.sampling.layouts[side].slots)))
            kept = {
                number: tables[kind].filter(pc.equal(tables[kind]["window"], window))
                for number, kind in slots
                if kind in tables
            }
            yield assemble(rows.filter(mine).sort_by("root"), kept, self.sampling.layouts[side])

    def _ask(self, records: pa.Table, slot: int, position_L: NDArray, node_L: NDArray[np.int32]) -> Blocks:
        """Send frontier records to the buckets of their nodes; a slot below zero is a root."""
        names = {"slot": np.full(len(records), slot, np.int32), "position": position_L.astype(np.int32), "node": node_L}
        for name, array in names.items():
            records = records.append_column(name, pa.array(array))
        known = node_L >= 0
        window = int(records["window"][0].as_py())
        layout = self.sampling.layouts[SIDES[window % 2]]
        node_type = layout.roots[-1 - slot] if slot < 0 else layout.slots[slot].dst_type
        first = (window // 2 * len(NODE_TYPES) + NODE_TYPES.index(node_type)) * self.buckets.count
        to = (first + node_L[known] % self.buckets.count) % len(self.keys)
        yield from blocks("frontier", records.filter(pa.array(known)), to, self.keys)

    def _expand(self, frontier: pa.Table, number: int) -> Blocks:
        """What records of one window, slot and bucket keep, and whom they ask next."""
        window, parent = (frontier[name][0].as_py() for name in ("window", "slot"))
        side, as_of = SIDES[window % 2], self.as_ofs[window // 2]
        layout, node_L, roots_BR = (self.sampling.layouts[side], frontier["node"].to_numpy(), roots(frontier, side))
        focal_BD, position_L = unpack(frontier["focal"], np.int16), frontier["position"].to_numpy()
        home_L = self._home(window, frontier["root"].to_numpy())
        for below in _children(layout, parent):
            slot = layout.slots[below]
            bucket = self.buckets.open(as_of, slot.edge_type, number)
            if bucket is None:
                continue
            key_L = list_keys(self.sampling.seed, slot, roots_BR, node_L, self.sampling.sampler)
            queries = Queries(focal_BD, skipped(layout, slot, roots_BR), key_L)
            kept_LK = np.full((len(frontier), slot.fanout), -1, np.int32)
            relevance_LK = np.zeros(kept_LK.shape, np.int8)
            lists = bucket.lists(node_L // self.buckets.count)
            expand(lists, queries, slot.fanout, self.sampling.sampler, kept_LK, relevance_LK)
            kept = frontier.select(["window", "root", "position"])
            kept = kept.append_column("ids", pack(kept_LK)).append_column("relevance", pack(relevance_LK))
            yield from blocks(f"kept/{side}/{below}", kept, home_L, self.keys)
            if layout.children(below):
                names = ["window", "root", "user", "query", "focal"]
                yield from self._ask_below(frontier.select(names), below, position_L, kept_LK)

    def _ask_below(self, records: pa.Table, slot: int, position_L: NDArray, kept_LK: NDArray[np.int32]) -> Blocks:
        """Ask on from what was kept in a slot, whose parents have these positions."""
        row, column = np.nonzero(kept_LK >= 0)
        if len(row):
            position = position_L[row] * kept_LK.shape[1] + column
            yield from self._ask(records.take(pa.array(row)), slot, position, kept_LK[row, column])

    def _home(self, window: int, root_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Partition in which a row is put together: each window is spread over a few, so that files are few."""
        spread = -(-len(self.keys) // (2 * len(self.as_ofs)))
        return (window * spread + (mix(root_B.astype(np.uint64)) % np.uint64(spread)).astype(np.int64)) % len(self.keys)


def plan_shuffled(
    events: DataFrame,
    sampling: Sampling,
    buckets: Buckets,
    as_ofs: Iterable[date],
    known: Sequence[DataFile],
    partitions: int,
) -> Plan:
    """Trees of the ``events`` (see ``in_ranges``); the rows of ``plan_locally``."""
    count = 2 * partitions
    plan = Shuffled(sampling, buckets, tuple(as_ofs), tuple(known), partition_keys(events.sparkSession, count))
    moving = events.mapInArrow(plan.seed, SPARK_SCHEMA).repartition(count, "to")
    for _ in range(max((slot.hop for layout in sampling.layouts.values() for slot in layout.slots), default=0)):
        moving = moving.mapInArrow(plan.hop, SPARK_SCHEMA).repartition(count, "to")
    return Plan(moving, plan.finish)


def partition_keys(spark: SparkSession, count: int) -> NDArray[np.int32]:
    """For each of ``count`` partitions an integer that Spark's hash partitioning sends there."""
    number = F.col("id").cast("int")
    rows = spark.range(64 * count).groupBy(F.pmod(F.hash(number), F.lit(count)).alias("partition")).agg(F.min(number))
    keys: Mapping[int, int] = dict(rows.collect())
    return np.array([keys[partition] for partition in range(count)], np.int32)


def packed_keys(
    window_L: NDArray[np.int64], slot_L: NDArray[np.int64], bucket_L: NDArray[np.int64]
) -> NDArray[np.int64]:
    """One number [L] for each (window, slot, bucket), in the order of these: 23, 16 and 24 bits. Raises RoilakeError
    for one that does not fit."""
    key_L = np.zeros(len(window_L), np.int64)
    for name, part_L, bits in (("windows", window_L, 23), ("slots", slot_L, 16), ("buckets", bucket_L, 24)):
        if len(part_L) and not 0 <= part_L.min() <= part_L.max() < 1 << bits:
            raise RoilakeError(f"build_rois: {part_L.max()} {name} of {1 << bits}; set roi.plan: local")
        key_L = (key_L << bits) + part_L
    return key_L


def _children(layout: RoiLayout, parent: int) -> tuple[int, ...]:
    if parent >= 0:
        return layout.children(parent)
    below = (n for n, slot in enumerate(layout.slots) if slot.parent is None and slot.root == -1 - parent)
    return tuple(n for n in below if layout.slots[n].place is None)
