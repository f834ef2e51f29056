"""What travels between the hops of the shuffled plan: blocks of many records, so that the JVM moves bytes, not rows.

A block is (to, kind, content): Arrow's stream format of a table whose columns depend on the kind. ``rows`` hold what
identifies a ROI, ``frontier`` asks for the lists of a node, ``kept/SIDE/SLOT`` is what one parent has kept in a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.pipelines.retrieval.roi.kernel import Tree
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.pipelines.retrieval.roi.rows import IDENTITY, with_trees

SPARK_SCHEMA = "to int, kind string, content binary"
SCHEMA = pa.schema([("to", pa.int32()), ("kind", pa.string()), ("content", pa.binary())])
BLOCK_RECORDS = 100_000

Blocks = Iterator[pa.RecordBatch]
Task = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def blocks(kind: str, records: pa.Table, to_L: NDArray[np.integer], keys: NDArray[np.int32]) -> Blocks:
    """Send each record to its partition; ``keys[p]`` is what Spark hashes to partition p."""
    order = np.argsort(to_L, kind="stable")
    records, to_L = records.take(pa.array(order)).combine_chunks(), to_L[order]
    bounds = np.searchsorted(to_L, np.arange(len(keys) + 1))
    for partition in np.flatnonzero(np.diff(bounds)):
        for start in range(bounds[partition], bounds[partition + 1], BLOCK_RECORDS):
            end = min(start + BLOCK_RECORDS, bounds[partition + 1])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, records.schema) as stream:
                stream.write_table(records.slice(start, end - start))
            content = pa.array([sink.getvalue().to_pybytes()], pa.binary())
            yield pa.RecordBatch.from_arrays([pa.array([keys[partition]]), pa.array([kind]), content], schema=SCHEMA)


def opened(
    batches: Iterable[pa.RecordBatch], kind: str | None = None
) -> tuple[dict[str, pa.Table], list[pa.RecordBatch]]:
    """The records of all blocks by kind; of one kind only if named, and then the batches of the others as they are."""
    tables: dict[str, list[pa.Table]] = {}
    others = []
    for batch in batches:
        for number, found in enumerate(batch["kind"].to_pylist()):
            if kind in (None, found):
                tables.setdefault(found, []).append(pa.ipc.open_stream(batch["content"][number].as_buffer()).read_all())
            else:
                others.append(batch.slice(number, 1))
    return {found: pa.concat_tables(parts) for found, parts in tables.items()}, others


def pack(array_LK: NDArray) -> pa.Array:
    """Each row's bytes, of fixed size."""
    kind = pa.binary(array_LK.shape[1] * array_LK.itemsize)
    return pa.FixedSizeBinaryArray.from_buffers(
        kind, len(array_LK), [None, pa.py_buffer(np.ascontiguousarray(array_LK))]
    )


def unpack(column: pa.ChunkedArray, dtype: type) -> NDArray:
    """The rows that ``pack`` has packed."""
    array = column.combine_chunks()
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8, len(array) * width, array.offset * width)
    return np.frombuffer(data.tobytes(), dtype).reshape(len(array), width // np.dtype(dtype).itemsize)


OWN = (("neighbours", np.int32), ("relevance", np.int8), ("linked", np.int8), ("ages", np.int8))
"""What rows carry of their history slots, [B, H] each, packed."""


def with_histories(rows: pa.Table, layout: RoiLayout, tree: Tree, repeats_B: NDArray[np.int32]) -> pa.Table:
    """The rows with what is filled of their trees; as they are where the layout has no history slot."""
    rows = rows.append_column("repeats", pa.array(repeats_B))
    kept = tree.neighbours_BS[:, layout.entry_H], tree.relevance_BS[:, layout.entry_H]
    parts: tuple[NDArray, ...] = (*kept, tree.linked_BH, tree.ages_BH)
    for (name, dtype), part in zip(OWN, parts, strict=True) if layout.places else ():
        rows = rows.append_column(name, pack(part.astype(dtype)))
    return rows


def assemble(rows: pa.Table, kept: dict[int, pa.Table], layout: RoiLayout) -> pa.Table:
    """Rows of one side and window with their trees: ``rows`` ordered by root, ``kept`` the records by slot."""
    tree = Tree.empty(len(rows), layout.size, layout.places)
    if layout.places:
        own = [unpack(rows[name], dtype) for name, dtype in OWN]
        tree.neighbours_BS[:, layout.entry_H], tree.relevance_BS[:, layout.entry_H] = own[:2]
        tree.linked_BH[:], tree.ages_BH[:] = own[2:]
    for number, some in kept.items():
        slot = layout.slots[number]
        row_L = np.searchsorted(rows["root"].to_numpy(), some["root"].to_numpy())
        into = slot.start + some["position"].to_numpy()[:, None] * slot.fanout + np.arange(slot.fanout)
        tree.neighbours_BS[row_L[:, None], into] = unpack(some["ids"], np.int32)
        tree.relevance_BS[row_L[:, None], into] = unpack(some["relevance"], np.int8)
    repeats_B = rows["repeats"].to_numpy()
    return with_trees(rows.select([*IDENTITY, "positives"]), tree, repeats_B)
