"""A matrix over all nodes of a graph that fits in no one place: blocks of rows as files, worked on by tasks.

Nodes of all types are numbered through and cut into blocks of ``ROWS``. Beside the sparse matrix lie tall dense ones
(vectors of all nodes), in the same blocks; a task reads the rows that its columns name and writes its own block. Blocks
depend on nothing but the number of nodes, and a block's sums run in one fixed order: what comes out does not change
with the number of tasks or threads.

Legend: N nodes, R rows of a block, E entries of a block, C distinct columns of a block, D columns of a dense matrix.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 1 << 16
_LISTS = 50_000
"""Neighbour lists that a task holds at a time."""
_ENTRY = np.dtype([("row", np.int32), ("column", np.int32), ("weight", np.float32)])

S = TypeVar("S")
T = TypeVar("T")


class Run(Protocol):
    """Apply a function to each input, here or elsewhere; results in the order of the inputs."""

    def __call__(self, work: Callable[[S], T], inputs: Sequence[S], /) -> list[T]: ...


@dataclass(frozen=True)
class Blocks:
    """Where the files lie. ``folder`` is on storage that all machines share."""

    folder: Path
    num_nodes: int

    @property
    def numbers(self) -> range:
        return range(-(-self.num_nodes // ROWS))

    def runner(self, spark: SparkSession) -> Run:
        """A single block is worked on here, for a Spark job's start would cost more than the work."""
        if len(self.numbers) <= 1:
            return in_process
        context = spark.sparkContext

        def in_tasks(work: Callable[[S], T], inputs: Sequence[S]) -> list[T]:
            return context.parallelize(inputs, max(1, len(inputs))).map(work).collect()

        return in_tasks

    def rows(self, block: int) -> int:
        return min(ROWS, self.num_nodes - block * ROWS)

    def path(self, name: str, block: int) -> Path:
        return self.folder / f"{name}.{block}.npy"

    def save(self, name: str, block: int, array: NDArray) -> None:
        """Written aside and renamed, for a task may be run twice."""
        aside = self.folder / f".{name}.{block}.{os.getpid()}.npy"
        np.save(aside, array)
        aside.rename(self.path(name, block))

    def load(self, name: str, block: int) -> NDArray:
        return np.load(self.path(name, block), mmap_mode="r", allow_pickle=False)

    def gather(self, name: str, ids: NDArray[np.integer]) -> NDArray:
        """Rows of the nodes ``ids`` (ascending) of a dense matrix."""
        cuts = np.searchsorted(ids, [block * ROWS for block in (*self.numbers, len(self.numbers))])
        parts = [
            self.load(name, block)[ids[cuts[block] : cuts[block + 1]] - block * ROWS]
            for block in self.numbers
            if cuts[block] < cuts[block + 1] or block == 0
        ]
        return np.concatenate(parts)

    def product(self, values: str, source: str, block: int) -> NDArray[np.float32]:
        """Rows of the matrix (its entries in file ``values``) times a dense matrix: [R, D], float32."""
        x_CD = self.gather(source, self.load("columns", block))
        parts = (self.load(values, block), self.load("places", block), self.load("offsets", block))
        product: NDArray[np.float32] = sp.csr_matrix(parts, shape=(self.rows(block), len(x_CD))) @ x_CD
        return product


def in_process(work: Callable[[S], T], inputs: Sequence[S]) -> list[T]:
    """One input after the other, here."""
    return [work(each) for each in inputs]


def lay_out(
    blocks: Blocks, run: Run, files: Sequence[str], starts: Mapping[str, int], symmetric: Sequence[str] = ()
) -> None:
    """Write the matrix of the neighbour lists in ``files`` (parquet, of table ``adjacency``).

    With ``symmetric`` edge types: of these alone (given one way, taken both ways), symmetric, a pair's entry being its
    weight if either node lists the other. Without: row n holds the weights of all lists of node n. A task holds one
    block's entries: 12 bytes each, twice, while it sorts them."""
    blocks.folder.mkdir(parents=True, exist_ok=True)
    run(partial(_scatter, blocks, starts, tuple(symmetric)), list(enumerate(files)))
    run(partial(_join, blocks, len(files), bool(symmetric)), blocks.numbers)
    for entries in blocks.folder.glob("entries-*"):
        entries.unlink()


def _scatter(blocks: Blocks, starts: Mapping[str, int], symmetric: tuple[str, ...], numbered: tuple[int, str]) -> None:
    """Send the entries of one file to the blocks of their rows, and of their columns."""
    number, path = numbered
    for old in blocks.folder.glob(f"entries-*.{number}.*"):
        old.unlink()  # of a task that died
    columns = ["edge_type", "src", "neighbours", "weights"]
    wanted = [*symmetric, *(_turned(edge_type) for edge_type in symmetric)]
    for batch in pq.ParquetFile(path).iter_batches(_LISTS, columns=columns):
        lists = pa.Table.from_batches([batch])
        if symmetric:
            lists = lists.filter(pc.is_in(lists["edge_type"], pa.array(wanted)))
        rows, cols, weights = _entries(lists, starts)
        _append(blocks, f"entries-own.{number}", rows, cols, weights)
        if symmetric:
            _append(blocks, f"entries-turned.{number}", cols, rows, weights)


def _turned(edge_type: str) -> str:
    source, target = edge_type.split("_")
    return f"{target}_{source}"


def _entries(
    lists: pa.Table, starts: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Source, target and weight of each entry of the lists, nodes numbered through."""
    types = lists["edge_type"].combine_chunks().dictionary_encode()
    ends = [name.split("_") for name in types.dictionary.to_pylist()]
    codes = types.indices.to_numpy()
    first, second = (np.array([starts[end[side]] for end in ends], np.int64)[codes] for side in (0, 1))
    sizes = pc.list_value_length(lists["neighbours"]).to_numpy()
    rows = np.repeat(first + lists["src"].to_numpy(), sizes)
    columns = np.repeat(second, sizes) + pc.list_flatten(lists["neighbours"]).to_numpy()
    return rows, columns, pc.list_flatten(lists["weights"]).to_numpy()


def _append(blocks: Blocks, name: str, rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray) -> None:
    block_E = rows // ROWS
    order = np.argsort(block_E, kind="stable")
    entries = np.empty(len(rows), _ENTRY)
    entries["row"], entries["column"], entries["weight"] = ((rows % ROWS)[order], columns[order], weights[order])
    cuts = np.searchsorted(block_E[order], np.arange(len(blocks.numbers) + 1))
    for block in blocks.numbers:
        if cuts[block] < cuts[block + 1]:
            with (blocks.folder / f"{name}.{block}").open("ab") as file:
                entries[cuts[block] : cuts[block + 1]].tofile(file)


def _join(blocks: Blocks, files: int, symmetric: bool, block: int) -> None:
    """The entries of one block as compressed rows, columns renumbered to those that occur."""
    matrix = _compressed(blocks, "own", files, block)
    if symmetric:
        matrix = matrix.maximum(_compressed(blocks, "turned", files, block)).tocsr()
    save_rows(blocks, block, matrix, "weights")


def save_rows(blocks: Blocks, block: int, matrix: sp.csr_matrix, values: str) -> None:
    """Save rows [R, N] of the matrix, columns renumbered to those that occur; entries go into file ``values``."""
    occurs = np.zeros(blocks.num_nodes, bool)
    occurs[matrix.indices] = True
    place_N = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    blocks.save("columns", block, np.flatnonzero(occurs))
    blocks.save("places", block, place_N[matrix.indices])
    blocks.save("offsets", block, matrix.indptr)
    blocks.save(values, block, matrix.data.astype(np.float32))


def _compressed(blocks: Blocks, kind: str, files: int, block: int) -> sp.csr_matrix:
    paths = [blocks.folder / f"entries-{kind}.{number}.{block}" for number in range(files)]
    found = [np.fromfile(path, _ENTRY) for path in paths if path.exists()]
    entries = np.concatenate([np.empty(0, _ENTRY), *found])
    triple = (entries["weight"], (entries["row"], entries["column"]))
    matrix = sp.csr_matrix(triple, shape=(blocks.rows(block), blocks.num_nodes))
    matrix.sum_duplicates()
    return matrix
