"""The graph of one window as flat, memory-mapped files: lists by edge type, quantised vectors by node type.

Legend of shape suffixes: N nodes of a type, E edges of a type, D dimension (padded to 32), B rows, R roots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.roi.history import HistoryGraph
from roilake.pipelines.retrieval.roi.kernel import LANES, Lists
from roilake.pipelines.retrieval.roi.layout import RoiLayout, node_types
from roilake.pipelines.retrieval.roi.sampling import focal, sample_tree

LINKS = "item_query"
"""The lists that hold all queries of an item; those of ``query_item`` hold a query's heaviest items only."""


@dataclass(frozen=True)
class RoiStore:
    """An opened store. Ids that it does not hold have no list and a zero vector."""

    offsets: dict[str, NDArray[np.int64]]  # by edge type: list of node n is ids[offsets[n] : offsets[n + 1]]
    ids: dict[str, NDArray[np.int32]]
    vectors: dict[str, NDArray[np.int8]]  # by node type, [N, D]

    @classmethod
    def open(cls, folder: Path) -> RoiStore:
        """Map the files of a folder that ``lay_out`` has written."""
        edge_types = json.loads((folder / "store.json").read_text())["edge_types"]
        return cls(
            offsets={edge_type: load(folder / f"{edge_type}.offsets.npy") for edge_type in edge_types},
            ids={edge_type: load(folder / f"{edge_type}.ids.npy") for edge_type in edge_types},
            vectors={node_type: load(folder / f"{node_type}.vectors.npy") for node_type in NODE_TYPES},
        )

    def sample(
        self, layout: RoiLayout, roots_BR: NDArray[np.int32], sampler: str, seed: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """Trees of the rows without histories: see ``sample_tree``. A root of -1 has no neighbours and no vector."""
        focal_BD = focal(self.vectors, layout.roots, roots_BR)
        tree = sample_tree(self, layout, roots_BR, focal_BD, sampler, seed)
        return tree.neighbours_BS, tree.relevance_BS

    @property
    def history_graph(self) -> HistoryGraph:
        """What histories are scored by."""
        offsets, ids = self.offsets.get(LINKS, np.zeros(1, np.int64)), self.ids.get(LINKS)
        return HistoryGraph(self.vectors, offsets, np.zeros(0, np.int32) if ids is None else ids)

    def lists(self, edge_type: str, parents_L: NDArray[np.int32]) -> Lists:
        """Lists of the parents; empty for -1 and for nodes without one."""
        offsets = self.offsets.get(edge_type, np.zeros(1, np.int64))
        known = (parents_L >= 0) & (parents_L < len(offsets) - 1)
        at = np.where(known, parents_L, 0)
        first_L, last_L = offsets[at], offsets[np.minimum(at + 1, len(offsets) - 1)]
        ids = self.ids.get(edge_type, np.zeros(0, np.int32))
        return Lists(first_L, np.where(known, last_L, first_L), ids, self.vectors[node_types(edge_type)[1]], False)

    @property
    def nbytes(self) -> int:
        parts: list[NDArray] = [*self.offsets.values(), *self.ids.values(), *self.vectors.values()]
        return sum(part.nbytes for part in parts)


def lay_out(folder: Path, adjacency_files: Sequence[str], vector_files: Sequence[str]) -> None:
    """Write the store of one window into ``folder`` from the parquet files of its adjacency and vectors."""
    folder.mkdir(parents=True)
    adjacency = read_lists(adjacency_files)
    sizes = dict.fromkeys(NODE_TYPES, 0)
    edge_types = sorted(pc.unique(adjacency["edge_type"]).to_pylist())
    for edge_type in edge_types:
        lists = adjacency.filter(pc.equal(adjacency["edge_type"], edge_type))
        offsets, ids = compressed_rows(lists["src"].to_numpy(), lists["neighbours"])
        source, destination = node_types(edge_type)
        sizes[source] = max(sizes[source], len(offsets) - 1)
        sizes[destination] = max(sizes[destination], int(ids.max(initial=-1)) + 1)
        np.save(folder / f"{edge_type}.offsets.npy", offsets)
        np.save(folder / f"{edge_type}.ids.npy", ids)
    for node_type, vectors_ND in quantised_vectors(vector_files, sizes).items():
        np.save(folder / f"{node_type}.vectors.npy", vectors_ND)
    (folder / "store.json").write_text(json.dumps({"edge_types": edge_types}))


def read_lists(paths: Sequence[str], edge_type: str | None = None) -> pa.Table:
    """(edge_type, src, neighbours) of files of table ``adjacency``, of one edge type if named."""
    columns = {"edge_type": pa.string(), "src": pa.int32(), "neighbours": None}
    return read_files(paths, columns, None if edge_type is None else pc.field("edge_type") == edge_type)


def read_files(
    paths: Sequence[str], columns: dict[str, pa.DataType | None], wanted: pc.Expression | None = None
) -> pa.Table:
    """The named columns of parquet files as one table, of the rows wanted; an empty one when there are no files."""
    if not paths:
        empty = {name: pa.array([], type or pa.list_(pa.int32())) for name, type in columns.items()}
        return pa.table(empty)
    # Without partitioning: it would make columns of Hive-style folder names.
    read = partial(pq.read_table, columns=list(columns), filters=wanted, partitioning=None)
    return pa.concat_tables([read(path) for path in paths])


def quantised_vectors(paths: Sequence[str], sizes: dict[str, int]) -> dict[str, NDArray[np.int8]]:
    """int8 vectors by node type: q = round(127 x / s) with one s = max |x| over all types, for the relevance
    does not change with a common scale. At least ``sizes`` rows a type; nodes without a vector are zero."""
    rows = read_files(paths, {"node_type": pa.string(), "id": pa.int32(), "vector": None})
    values = rows["vector"].combine_chunks().flatten().to_numpy() if len(rows) else np.zeros(0, np.float32)
    dim = len(values) // max(1, len(rows))
    if len(values) != dim * len(rows):
        raise LakeError("interest_vectors: vectors of different lengths; run embed_interests again")
    scale = float(max(values.max(initial=0.0), -values.min(initial=0.0))) or 1.0
    values_ND, ids_N = values.reshape(len(rows), dim), rows["id"].to_numpy()
    found = {}
    for node_type, size in sizes.items():
        mine = pc.equal(rows["node_type"], node_type).to_numpy()
        vectors_ND = np.zeros((max(size, int(ids_N[mine].max(initial=-1)) + 1), padded(dim)), np.int8)
        exact_ND = values_ND[mine].astype(np.float64)
        exact_ND *= 127.0
        exact_ND /= scale
        vectors_ND[ids_N[mine], :dim] = np.rint(exact_ND, out=exact_ND)
        found[node_type] = vectors_ND
    return found


def padded(dim: int) -> int:
    """The dimension padded to whole lanes of the kernel."""
    return max(LANES, -(-dim // LANES) * LANES)


def compressed_rows(src: NDArray[np.int32], lists: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Compressed sparse rows of the lists of ``src``, which come in any order: the list of node n is
    ids[offsets[n] : offsets[n + 1]]."""
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = np.zeros(int(src.max(initial=-1)) + 2, np.int64)
    offsets[src + 1] = lengths
    np.cumsum(offsets, out=offsets)
    ids, done = np.empty(offsets[-1], np.int32), 0
    for chunk in lists.chunks:
        sizes, starts = lengths[done : done + len(chunk)], offsets[src[done : done + len(chunk)]]
        before = np.cumsum(sizes) - sizes
        ids[np.repeat(starts - before, sizes) + np.arange(sizes.sum())] = chunk.flatten().to_numpy()
        done += len(chunk)
    return offsets, ids


def load(path: Path) -> NDArray:
    """An array, memory-mapped."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
