"""Compressed sparse rows as flat, memory-mapped files, laid out from pairs by any number of tasks.

Legend of shape suffixes: N nodes (N1: N + 1), E entries (of a graph: edges, each both ways)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from roilake.errors import LakeError
from roilake.lake.files import write_aside

Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Runs a function on each of some things, wherever: here, or each in a task of Spark's. A function writes its own part
of a file, and the same bytes when it runs again."""


@dataclass(frozen=True)
class Rows:
    """Row i is ``ids_E[offsets_N1[i] : offsets_N1[i + 1]]``, ascending and distinct."""

    offsets_N1: NDArray[np.int64]
    ids_E: NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path) -> Rows:
        """Map what ``lay_out`` has written."""
        return cls(load(folder / "offsets.npy"), load(folder / "ids.npy"))

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.offsets_N1) - 1


class Part(NamedTuple):
    """A file of the pairs of some nodes, all of them: ``first`` is the least."""

    first: int
    file: Path
    pairs: int


def write_part(file: Path, nodes: int, src: NDArray, dst: NDArray) -> Part | None:
    """Write pairs, in any order and perhaps doubled; None where there are none. Raises LakeError for a source that is
    no node, and for a negative target."""
    if not len(src):
        return None
    if min(src.min(), dst.min()) < 0 or src.max() >= nodes:
        raise LakeError(
            f"{file.parent.name}: ids from {min(src.min(), dst.min())} to {src.max()}; nodes are 0 to {nodes - 1}"
        )
    keys = np.unique(src.astype(np.int64) << 32 | dst)
    write_aside(file, keys.tofile)
    return Part(int(keys[0] >> 32), file, len(keys))


def lay_out(folder: Path, nodes: int, parts: Sequence[Part], each: Each) -> None:
    """Make rows of parts that share no node, and delete these."""
    parts = sorted(parts)
    bounds = pairwise([0, *(part.first for part in parts[1:]), nodes])
    bases = np.cumsum([0, *(part.pairs for part in parts)]).tolist()
    create(folder / "offsets.npy", nodes + 1, np.int64)
    create(folder / "ids.npy", bases[-1], np.int32)
    each(partial(_place, folder), list(zip(parts, bounds, bases, strict=False)))
    for part in parts:
        part.file.unlink()


def _place(folder: Path, what: tuple[Part, tuple[int, int], int]) -> None:
    """Copy a part to its place: that of the nodes ``start <= i < end``, whose first entry is number ``base``."""
    part, (start, end), base = what
    keys = np.fromfile(part.file, np.int64)
    load(folder / "ids.npy", "r+")[base : base + part.pairs] = keys & 0xFFFFFFFF
    counts = np.bincount((keys >> 32) - start, minlength=end - start)
    load(folder / "offsets.npy", "r+")[start + 1 : end + 1] = base + np.cumsum(counts)


def create(file: Path, length: int, dtype: DTypeLike) -> None:
    """An array of zeros, of which no page is on disk yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(file, "w+", dtype, (length,))


def load(file: Path, mode: Any = "r") -> NDArray:
    """An array, memory-mapped; with mode ``r+`` to write to."""
    return np.load(file, mmap_mode=mode, allow_pickle=False)
