"""The shuffled plan: hop by hop, the frontier travels to the buckets that hold its lists, and is scored there.

The graph never moves. A frontier piece carries its focal, so that nothing but the list at hand is read; what is
kept goes on as the next frontier and, in the end, by root to where the trees are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.roi.buckets import Buckets
from roilake.pipelines.retrieval.roi.kernel import Asked, expand
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.pipelines.retrieval.roi.local import Sampling
from roilake.pipelines.retrieval.roi.rows import Plan, by_window, in_ranges, roots
from roilake.pipelines.retrieval.roi.sampling import list_keys, mix, skipped
from roilake.pipelines.retrieval.roi.shuffle_blocks import (
    SPARK_SCHEMA,
    Parcels,
    assemble,
    opened,
    pack,
    parcels,
    unpack,
)
from roilake.pipelines.retrieval.roi.store import NODE_TYPES, focal

SIDES = ("request", "item")


@dataclass(frozen=True)
class Shuffled:
    """The plan's parts that run in tasks. A *window* is the number of an as_of, twice, plus that of the side."""

    sampling: Sampling
    buckets: Buckets
    as_ofs: tuple[date, ...]
    keys: NDArray[np.int32]  # by place: an integer that Spark hashes to that partition

    def seed(self, batches: Iterable[pa.RecordBatch]) -> Parcels:
        """The rows, and the first frontier."""
        for side, as_of, rows in by_window(pa.Table.from_batches(list(batches))):
            layout = self.sampling.layouts[side]
            window = 2 * self.as_ofs.index(as_of) + SIDES.index(side)
            roots_BR, root_B = roots(rows, side), rows["root"].to_numpy()
            yield from parcels("rows", rows, self._home(window, root_B), self.keys)
            vectors = {node_type: self.buckets.vectors(as_of, node_type) for node_type in layout.roots}
            names = ("root", "user", "query")
            asked = {"window": pa.array(np.full(len(rows), window, np.int32)), **{n: rows[n] for n in names}}
            asked["focal"] = pack(focal(vectors, layout.roots, roots_BR))
            for index in {slot.root for slot in layout.slots}:
                yield from self._ask(
                    pa.table(asked), -1 - index, np.zeros(len(rows), np.int32), roots_BR[:, index]
                )

    def hop(self, batches: Iterable[pa.RecordBatch]) -> Parcels:
        """Expand the frontier pieces that came here; all else passes."""
        tables, others = opened(batches, "frontier")
        yield from others
        if "frontier" not in tables:
            return
        asked = tables["frontier"].combine_chunks()
        window_L, slot_L, bucket_L = (
            asked[name].to_numpy().astype(np.int64) for name in ("window", "slot", "node")
        )
        bucket_L %= self.buckets.count
        code_L = (window_L << 40) + ((slot_L + len(NODE_TYPES)) << 24) + bucket_L
        order = np.argsort(code_L, kind="stable")
        asked, bounds = (
            asked.take(pa.array(order)),
            np.flatnonzero(np.diff(code_L[order], prepend=-1, append=-1)),
        )
        for start, end in pairwise(bounds):
            yield from self._expand(asked.slice(start, end - start), int(bucket_L[order[start]]))

    def finish(self, part: pa.Table) -> Iterator[pa.Table]:
        """Put the trees of a partition together, window by window."""
        tables, _ = opened(part.to_batches())
        for key in (
            tables["rows"].group_by(["side", "as_of"]).aggregate([]).to_pylist() if "rows" in tables else []
        ):
            side, window = key["side"], 2 * self.as_ofs.index(key["as_of"]) + SIDES.index(key["side"])
            rows = tables["rows"]
            mine = pc.and_(pc.equal(rows["side"], side), pc.equal(rows["as_of"], key["as_of"]))
            slots = (
                (number, f"kept/{side}/{number}") for number in range(len(self.sampling.layouts[side].slots))
            )
            kept = {
                number: tables[kind].filter(pc.equal(tables[kind]["window"], window))
                for number, kind in slots
                if kind in tables
            }
            yield assemble(rows.filter(mine).sort_by("root"), kept, self.sampling.layouts[side])

    def _ask(self, pieces: pa.Table, slot: int, place_L: NDArray, node_L: NDArray[np.int32]) -> Parcels:
        """Send frontier pieces to the buckets of their nodes; a slot below zero is a root."""
        names = {
            "slot": np.full(len(pieces), slot, np.int32),
            "place": place_L.astype(np.int32),
            "node": node_L,
        }
        for name, array in names.items():
            pieces = pieces.append_column(name, pa.array(array))
        known = node_L >= 0
        window = int(pieces["window"][0].as_py())
        layout = self.sampling.layouts[SIDES[window % 2]]
        node_type = layout.roots[-1 - slot] if slot < 0 else layout.slots[slot].dst_type
        first = (window // 2 * len(NODE_TYPES) + NODE_TYPES.index(node_type)) * self.buckets.count
        to = (first + node_L[known] % self.buckets.count) % len(self.keys)
        yield from parcels("frontier", pieces.filter(pa.array(known)), to, self.keys)

    def _expand(self, asked: pa.Table, number: int) -> Parcels:
        """What pieces of one window, slot and bucket keep, and whom they ask next."""
        window, parent = (asked[name][0].as_py() for name in ("window", "slot"))
        side, as_of = SIDES[window % 2], self.as_ofs[window // 2]
        layout, node_L, roots_BR = self.sampling.layouts[side], asked["node"].to_numpy(), roots(asked, side)
        focal_BD, place_L = unpack(asked["focal"], np.int16), asked["place"].to_numpy()
        home_L = self._home(window, asked["root"].to_numpy())
        for below in _children(layout, parent):
            slot = layout.slots[below]
            bucket = self.buckets.open(as_of, slot.edge_type, number)
            if bucket is None:
                continue
            key_L = list_keys(self.sampling.seed, slot, roots_BR, node_L, self.sampling.sampler)
            request = Asked(focal_BD, skipped(layout, slot, roots_BR), key_L)
            kept_LK = np.full((len(asked), slot.fanout), -1, np.int32)
            relevance_LK = np.zeros(kept_LK.shape, np.int8)
            lists = bucket.lists(node_L // self.buckets.count)
            expand(lists, request, slot.fanout, self.sampling.sampler, kept_LK, relevance_LK)
            kept = asked.select(["window", "root", "place"])
            kept = kept.append_column("ids", pack(kept_LK)).append_column("relevance", pack(relevance_LK))
            yield from parcels(f"kept/{side}/{below}", kept, home_L, self.keys)
            row, column = np.nonzero(kept_LK >= 0)
            if layout.children(below) and len(row):
                names = ["window", "root", "user", "query", "focal"]
                place = place_L[row] * slot.fanout + column
                yield from self._ask(
                    asked.select(names).take(pa.array(row)), below, place, kept_LK[row, column]
                )

    def _home(self, window: int, root_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where a row is put together: each window is spread over a few places, so that files are few."""
        spread = -(-len(self.keys) // (2 * len(self.as_ofs)))
        return (window * spread + (mix(root_B.astype(np.uint64)) % np.uint64(spread)).astype(np.int64)) % len(
            self.keys
        )


def plan_shuffled(
    events: DataFrame, sampling: Sampling, buckets: Buckets, as_ofs: Iterable[date], partitions: int
) -> Plan:
    """Trees of the ``events`` (see ``retrieval.roi.rows``); the rows of ``plan_locally``."""
    places = 2 * partitions
    plan = Shuffled(sampling, buckets, tuple(as_ofs), place_keys(events.sparkSession, places))
    moving = in_ranges(events, partitions).mapInArrow(plan.seed, SPARK_SCHEMA).repartition(places, "to")
    for _ in range(
        max((slot.hop for layout in sampling.layouts.values() for slot in layout.slots), default=0)
    ):
        moving = moving.mapInArrow(plan.hop, SPARK_SCHEMA).repartition(places, "to")
    return Plan(moving, plan.finish)


def place_keys(spark: SparkSession, places: int) -> NDArray[np.int32]:
    """For each of ``places`` partitions an integer that Spark's hash partitioning sends there."""
    number = F.col("id").cast("int")
    rows = (
        spark.range(64 * places)
        .groupBy(F.pmod(F.hash(number), F.lit(places)).alias("place"))
        .agg(F.min(number))
    )
    keys: Mapping[int, int] = dict(rows.collect())
    return np.array([keys[place] for place in range(places)], np.int32)


def _children(layout: RoiLayout, parent: int) -> tuple[int, ...]:
    if parent >= 0:
        return layout.children(parent)
    return tuple(n for n, slot in enumerate(layout.slots) if slot.parent is None and slot.root == -1 - parent)
