"""What travels between the hops of the shuffled plan: one narrow row a piece, arrays packed as bytes.

A *request* piece holds what identifies a row (slot -1, its positives in ``ids``); a *kept* piece holds what one
parent has kept in one slot; a *frontier* piece asks for the lists of one node (``node`` is not -1).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.roi.layout import RoiLayout
from roilake.roi.rows import with_trees

SCHEMA = pa.schema(
    {
        "to": pa.int32(),  # where the piece goes next
        "side": pa.string(),
        "as_of": pa.date32(),
        "shard": pa.int32(),
        "split": pa.string(),
        "root": pa.int64(),
        "user": pa.int32(),
        "query": pa.int32(),
        "slot": pa.int32(),  # kept: the slot; frontier: the slot that holds the node, or -1 - index of the root
        "place": pa.int32(),  # position of the parent (kept) or of the node (frontier) in its slot
        "node": pa.int32(),
        "ids": pa.binary(),  # int32
        "relevance": pa.binary(),  # int8
        "focal": pa.binary(),  # int16
    }
)
SPARK_SCHEMA = (
    "to int, side string, as_of date, shard int, split string, root long, user int, query int, "
    "slot int, place int, node int, ids binary, relevance binary, focal binary"
)
Columns = dict[str, pa.Array]


def piece_table(
    rows: pa.Table, to: NDArray, slot: int, place: NDArray, node: NDArray, **packed: pa.Array
) -> pa.Table:
    """Pieces of these rows; columns that are not given are null."""
    columns = {name: rows[name] for name in ("side", "as_of", "shard", "split", "root", "user", "query")}
    columns |= {"to": pa.array(to, pa.int32()), "slot": pa.array(np.full(len(rows), slot, np.int32))}
    columns |= {"place": pa.array(place, pa.int32()), "node": pa.array(node, pa.int32()), **packed}
    nulls = {
        name: pa.nulls(len(rows), pa.binary()) for name in ("ids", "relevance", "focal") if name not in packed
    }
    return pa.table({name: (columns | nulls)[name] for name in SCHEMA.names}, schema=SCHEMA)


def pack(array_LK: NDArray) -> pa.Array:
    """Each row's bytes."""
    width = array_LK.shape[1] * array_LK.itemsize
    offsets = pa.py_buffer(np.arange(len(array_LK) + 1, dtype=np.int32) * width)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(array_LK), [None, offsets, pa.py_buffer(np.ascontiguousarray(array_LK))]
    )


def pack_lists(lists: pa.ListArray) -> pa.Array:
    """Each list's bytes."""
    values = lists.flatten().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]) * values.itemsize
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.BinaryArray.from_buffers(pa.binary(), len(lists), buffers)


def unpack(column: pa.ChunkedArray, dtype: type) -> tuple[NDArray[np.int64], NDArray]:
    """Where each row's values end, and all values one after the other."""
    array = column.combine_chunks()
    if not len(array):
        return np.zeros(0, np.int64), np.zeros(0, dtype)
    ends = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(array.buffers()[2], np.uint8)[ends[0] : ends[-1]] if ends[-1] > ends[0] else b""
    return (ends[1:] - ends[0]) // np.dtype(dtype).itemsize, np.frombuffer(bytes(data), dtype)


def assemble(rows: pa.Table, kept: pa.Table, layout: RoiLayout) -> pa.Table:
    """Rows of one side and window with their trees; ``rows`` are ordered by root, ``kept`` are their pieces."""
    neighbours_BS = np.full((len(rows), layout.size), -1, np.int32)
    relevance_BS = np.zeros((len(rows), layout.size), np.int8)
    row_L = np.searchsorted(rows["root"].to_numpy(), kept["root"].to_numpy())
    slot_L, place_L = kept["slot"].to_numpy(), kept["place"].to_numpy()
    for number, slot in enumerate(layout.slots):
        mine = np.flatnonzero(slot_L == number)
        some = kept.take(pa.array(mine))
        into = slot.start + place_L[mine, None] * slot.fanout + np.arange(slot.fanout)
        at = row_L[mine, None], into
        neighbours_BS[at] = unpack(some["ids"], np.int32)[1].reshape(-1, slot.fanout)
        relevance_BS[at] = unpack(some["relevance"], np.int8)[1].reshape(-1, slot.fanout)
    return with_trees(rows, neighbours_BS, relevance_BS)
