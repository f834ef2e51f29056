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
    """Row i is ``ids_E[offsets_N1[i] : offsets_N1[i + 1]]``, distinct and ascending (as if without sign)."""

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
    """A file of the pairs of some sources, all of them: from ``first`` to ``last``."""

    first: int
    last: int
    pairs: int
    file: str


def write_part(folder: Path, number: int, src: NDArray[np.int32], dst: NDArray[np.int32]) -> list[Part]:
    """Write pairs that come in any order and perhaps doubled; none is no part."""
    keys = np.unique(src.astype(np.int64) << 32 | dst.view(np.uint32))
    if not len(keys):
        return []
    write_aside(folder / f"part-{number}", keys.tofile)
    return [Part(int(keys[0] >> 32), int(keys[-1] >> 32), len(keys), f"part-{number}")]


def lay_out(folder: Path, nodes: int, parts: Sequence[Part], each: Each) -> None:
    """Make rows of parts that share no source, and delete these. Raises LakeError for a source that is no node."""
    parts = sorted(parts)
    for bad in {part.first for part in parts if part.first < 0} | {part.last for part in parts if part.last >= nodes}:
        raise LakeError(f"{folder.name}: {bad} is no node; they are numbered from 0 to {nodes - 1}")
    bounds = pairwise([0, *(part.first for part in parts[1:]), nodes])
    bases = np.cumsum([0, *(part.pairs for part in parts)]).tolist()
    create(folder / "offsets.npy", nodes + 1, np.int64)
    create(folder / "ids.npy", bases[-1], np.int32)
    each(partial(_place, folder), list(zip(parts, bounds, bases, strict=False)))
    for part in parts:
        (folder / part.file).unlink()


def _place(folder: Path, what: tuple[Part, tuple[int, int], int]) -> None:
    """Copy a part to its place: that of the nodes ``start <= i < end``, whose first entry is number ``base``."""
    part, (start, end), base = what
    keys = np.fromfile(folder / part.file, np.int64)
    write(folder / "ids.npy", base, keys & 0xFFFFFFFF)
    counts = np.bincount((keys >> 32) - start, minlength=end - start)
    write(folder / "offsets.npy", start + 1, base + np.cumsum(counts))


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
