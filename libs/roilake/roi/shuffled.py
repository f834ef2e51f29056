"""The shuffled plan: hop by hop, the frontier travels to the buckets that hold its lists, and is scored there.

The graph never moves. A frontier piece carries its focal, so that nothing but the list at hand is read; what is
kept goes on as the next frontier and, in the end, by root to where the trees are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.roi import pieces
from roilake.roi.buckets import Buckets
from roilake.roi.kernel import Asked, expand
from roilake.roi.layout import RoiLayout
from roilake.roi.local import Sampling
from roilake.roi.rows import IDENTITY, Plan, by_window, in_ranges, roots
from roilake.roi.sampling import list_keys, skipped
from roilake.roi.store import NODE_TYPES, focal

Tables = Iterator[pa.Table]


@dataclass(frozen=True)
class Router:
    """Numbers of the places that pieces go to: one a (window, node type, bucket)."""

    windows: Mapping[date, int]
    count: int

    def to(self, as_of: date, node_type: str, node_L: NDArray[np.int32]) -> NDArray[np.int32]:
        """The place of each node's bucket."""
        first = (self.windows[as_of] * len(NODE_TYPES) + NODE_TYPES.index(node_type)) * self.count
        return (first + node_L % self.count).astype(np.int32)


def plan_shuffled(
    events: DataFrame, sampling: Sampling, buckets: Buckets, as_ofs: list[date], partitions: int
) -> Plan:
    """Trees of the ``events`` (see ``roilake.roi.rows``); the rows of ``plan_locally``."""
    router = Router({as_of: number for number, as_of in enumerate(as_ofs)}, buckets.count)
    moving = in_ranges(events, partitions).mapInArrow(
        _in_tasks(lambda part: _seed(part, sampling, buckets, router)), pieces.SPARK_SCHEMA
    )
    places = min(len(as_ofs) * buckets.count, 4 * partitions)
    for _ in range(max(layout.slots[-1].hop for layout in sampling.layouts.values() if layout.slots)):
        moving = moving.repartition(places, "to").mapInArrow(
            _in_batches(lambda batch: _hop(batch, sampling, buckets, router)), pieces.SPARK_SCHEMA
        )
    spread = F.pmod(F.xxhash64("root"), F.lit(partitions))
    return Plan(
        moving.repartition(2 * partitions, "side", "as_of", "shard", spread),
        lambda part: _assembled(part, sampling),
    )


def _seed(events: pa.Table, sampling: Sampling, buckets: Buckets, router: Router) -> Tables:
    """The first frontier, and a request piece for each row."""
    for side, as_of, rows in by_window(events):
        layout = sampling.layouts[side]
        vectors = {node_type: buckets.vectors(as_of, node_type) for node_type in layout.roots}
        roots_BR = roots(rows, side)
        packed = pieces.pack(focal(vectors, layout.roots, roots_BR))
        away = (rows["root"].to_numpy() % 2**31).astype(np.int32)
        none = np.full(len(rows), -1, np.int32)
        positives = pieces.pack_lists(rows["positives"].combine_chunks())
        yield pieces.piece_table(rows, away, -1, none, none, ids=positives)
        for index, node_type in enumerate(layout.roots):
            if any(slot.root == index for slot in layout.slots):
                node_L = roots_BR[:, index]
                to = router.to(as_of, node_type, node_L)
                asked = pieces.piece_table(rows, to, -1 - index, none * 0, node_L, focal=packed)
                yield asked.filter(pc.greater_equal(asked["node"], 0))


def _hop(batch: pa.Table, sampling: Sampling, buckets: Buckets, router: Router) -> Tables:
    """Expand the frontier pieces of a batch; all others pass."""
    waiting = pc.greater_equal(batch["node"], 0)
    yield batch.filter(pc.invert(waiting))
    frontier = batch.filter(waiting)
    keys = ["side", "as_of", "slot", "to"]
    for key in frontier.group_by(keys).aggregate([]).to_pylist():
        mine = pa.scalar(True)
        for name in keys:
            mine = pc.and_(mine, pc.equal(frontier[name], pa.scalar(key[name], frontier[name].type)))
        yield from _expanded(frontier.filter(mine), key, sampling, buckets, router)


def _expanded(asked: pa.Table, key: Mapping, sampling: Sampling, buckets: Buckets, router: Router) -> Tables:
    """What pieces of one bucket and one parent slot keep, and whom they ask next."""
    layout, as_of, parent = sampling.layouts[key["side"]], key["as_of"], key["slot"]
    node_L, roots_BR = asked["node"].to_numpy(), roots(asked, key["side"])
    focal_BD = pieces.unpack(asked["focal"], np.int16)[1].reshape(len(asked), -1)
    for number in _children(layout, parent):
        slot = layout.slots[number]
        bucket = buckets.open(as_of, slot.edge_type, key["to"] % buckets.count)
        if bucket is None:
            continue
        keys_L = list_keys(sampling.seed, slot, roots_BR, node_L, sampling.sampler)
        kept_LK = np.full((len(asked), slot.fanout), -1, np.int32)
        relevance_LK = np.zeros(kept_LK.shape, np.int8)
        expand(
            bucket.lists(node_L // buckets.count),
            Asked(focal_BD, skipped(layout, slot, roots_BR), keys_L),
            slot.fanout,
            sampling.sampler,
            kept_LK,
            relevance_LK,
        )
        yield _kept(asked, number, kept_LK, relevance_LK)
        if layout.children(number):
            yield _next(asked, number, slot.dst_type, kept_LK, router, as_of)


def _kept(
    asked: pa.Table, number: int, kept_LK: NDArray[np.int32], relevance_LK: NDArray[np.int8]
) -> pa.Table:
    away = (asked["root"].to_numpy() % 2**31).astype(np.int32)
    none = np.full(len(asked), -1, np.int32)
    packed = {"ids": pieces.pack(kept_LK), "relevance": pieces.pack(relevance_LK)}
    return pieces.piece_table(asked, away, number, asked["place"].to_numpy(), none, **packed)


def _next(
    asked: pa.Table, number: int, node_type: str, kept_LK: NDArray[np.int32], router: Router, as_of: date
) -> pa.Table:
    row, column = np.nonzero(kept_LK >= 0)
    node_L = kept_LK[row, column]
    place = asked["place"].to_numpy()[row] * kept_LK.shape[1] + column
    rows = asked.take(pa.array(row))
    to = router.to(as_of, node_type, node_L)
    return pieces.piece_table(rows, to, number, place, node_L, focal=rows["focal"].combine_chunks())


def _children(layout: RoiLayout, parent: int) -> tuple[int, ...]:
    if parent >= 0:
        return layout.children(parent)
    below = (number for number, slot in enumerate(layout.slots) if slot.parent is None)
    return tuple(number for number in below if layout.slots[number].root == -1 - parent)


def _assembled(part: pa.Table, sampling: Sampling) -> Tables:
    for key in part.group_by(["side", "as_of"]).aggregate([]).to_pylist():
        mine = pc.and_(pc.equal(part["side"], key["side"]), pc.equal(part["as_of"], key["as_of"]))
        some = part.filter(mine)
        whole = pc.less(some["slot"], 0)
        rows = some.filter(whole).sort_by("root")
        ends, values = pieces.unpack(rows["ids"], np.int32)
        offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
        rows = rows.select(list(IDENTITY)).append_column(
            "positives", pa.ListArray.from_arrays(offsets, pa.array(values))
        )
        yield pieces.assemble(rows, some.filter(pc.invert(whole)), sampling.layouts[key["side"]])


def _in_batches(
    make: Callable[[pa.Table], Tables],
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            for table in make(pa.Table.from_batches([batch])):
                yield from table.combine_chunks().to_batches()

    return task


def _in_tasks(
    make: Callable[[pa.Table], Tables],
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        found = list(batches)
        if found:
            for table in make(pa.Table.from_batches(found)):
                yield from table.combine_chunks().to_batches()

    return task
