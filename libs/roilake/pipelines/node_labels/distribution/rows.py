"""Compressed sparse rows, and other arrays, as flat, memory-mapped files.

Legend of shape suffixes: N nodes (N1: N + 1), E entries (of a graph: edges, each both ways)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Runs a function on each of some things, wherever: here, or each in a task of Spark's. A function writes its own part
of a file, and the same bytes when it runs again."""


@dataclass(frozen=True)
class Rows:
    """Row i is ``ids_E[offsets_N1[i] : offsets_N1[i + 1]]``, distinct and ascending (as if without sign)."""

    offsets_N1: NDArray[np.int64]
    ids_E: NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path) -> Rows:
        """Map what ``lay_out`` has written."""
        return cls(load(folder / "offsets.npy"), load(folder / "ids.npy"))

    @classmethod
    def of(cls, row_E: NDArray[np.integer], ids_E: NDArray[np.integer], nodes: int) -> Rows:
        """Of entries in order of (row, id)."""
        offsets_N1 = np.concatenate([[0], np.cumsum(np.bincount(row_E, minlength=nodes))])
        return cls(offsets_N1, ids_E.astype(np.int32))

    def take(self, rows: NDArray[np.integer]) -> Rows:
        """Some rows, any of them as often as it is asked for."""
        start_R, count_R = self.offsets_N1[rows], self.offsets_N1[rows + 1] - self.offsets_N1[rows]
        offsets_R1 = np.concatenate([[0], np.cumsum(count_R)])
        place_E = np.arange(offsets_R1[-1]) + np.repeat(start_R - offsets_R1[:-1], count_R)
        return Rows(offsets_R1, np.asarray(self.ids_E[place_E]))

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.offsets_N1) - 1


def create(file: Path, length: int, dtype: DTypeLike) -> None:
    """An array of zeros, of which no page is on disk yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(file, "w+", dtype, (length,))


def write(file: Path, start: int, values: NDArray) -> None:
    """Put values into an array, from number ``start`` on. The file is closed then, as network disks want it before
    others read."""
    array = load(file)
    with file.open("r+b") as out:
        out.seek(array.offset + start * array.itemsize)
        out.write(np.ascontiguousarray(values, array.dtype).data)


def load(file: Path) -> np.memmap:
    """An array, memory-mapped."""
    return np.load(file, mmap_mode="r", allow_pickle=False)
