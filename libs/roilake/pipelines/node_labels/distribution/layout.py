"""Pairs in any order -> compressed sparse rows, by tasks that share a disk: a sample sort.

Each task that reads pairs spills them as sorted runs. A sample of these cuts the sources into parts of about equal
size, whatever the degrees; a task merges a part out of all runs and drops doubles. When the sizes of all parts are
known, each is copied to its place. Spark's own shuffle (both ways, by ranges of sources) took 2.3 times the time: its
rows are objects, these are 8 bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.lake.files import write_aside
from roilake.pipelines.node_labels.distribution.rows import Each, create, write

Keys = NDArray[np.int64]
"""The source in the higher half, the target in the lower one."""
_HELD = 8_000_000
"""Keys that a task sorts at once: 8 bytes each, in some copies."""
_WORTH = 500_000
"""Keys that are worth a task of their own."""
_EVERY = 4096
"""Of a run, the keys that are its sample."""


class Run(NamedTuple):
    """A file of keys, ascending and distinct."""

    file: str
    keys: int
    sample: list[int]


class Part(NamedTuple):
    """A run of all pairs of the sources from ``first`` to ``last``."""

    first: int
    last: int
    file: str
    keys: int


def keys_of(src: NDArray[np.integer], dst: NDArray[np.integer]) -> Keys:
    """Targets are ordered as if they had no sign."""
    return src.astype(np.int64) << 32 | dst.astype(np.uint32)


def spill(folder: Path, task: int, batches: Iterable[Keys]) -> Iterator[Run]:
    """Write the keys that a task reads, in runs."""
    for number, keys in enumerate(_chunks(batches)):
        keys.sort()
        distinct = _write(folder / f"run-{task}-{number}", keys)
        yield Run(f"run-{task}-{number}", len(distinct), distinct[::_EVERY].tolist())


def _chunks(batches: Iterable[Keys]) -> Iterator[Keys]:
    held: list[Keys] = []
    for keys in batches:
        held.append(keys)
        if sum(map(len, held)) >= _HELD:
            yield np.concatenate(held)
            held = []
    if any(map(len, held)):
        yield np.concatenate(held)


def _write(file: Path, sorted_keys: Keys) -> Keys:
    """Without doubles."""
    distinct = sorted_keys[np.append(True, np.diff(sorted_keys) != 0)[: len(sorted_keys)]]
    write_aside(file, distinct.tofile)
    return distinct


def lay_out(folder: Path, nodes: int, runs: Sequence[Run], each: Each, *, cores: int) -> None:
    """Make ``Rows`` of runs, and delete these. Raises LakeError for a source that is no node."""
    merged = partial(_merge, folder, [run.file for run in runs])
    parts = sorted(part for some in each(merged, list(enumerate(_bounds(runs, cores)))) for part in some)
    bad = [source for part in parts for source in (part.first, part.last) if not 0 <= source < nodes]
    if bad:
        raise LakeError(f"{folder.name}: {bad[0]} is no node; they are numbered from 0 to {nodes - 1}")
    starts = pairwise([0, *(part.first for part in parts[1:]), nodes])
    bases = np.cumsum([0, *(part.keys for part in parts)]).tolist()
    create(folder / "offsets.npy", nodes + 1, np.int64)
    create(folder / "ids.npy", bases[-1], np.int32)
    each(partial(_place, folder), list(zip(parts, starts, bases, strict=False)))
    for done in (*runs, *parts):
        (folder / done.file).unlink()


def _bounds(runs: Sequence[Run], cores: int) -> list[tuple[int, int]]:
    """Ranges of keys, each of whole sources: as many as memory asks for, and as keep all cores busy."""
    keys = sum(run.keys for run in runs)
    count = max(1, min(keys // _WORTH, cores * -(-keys // (_HELD * cores))))
    sample = np.sort(np.array([key for run in runs for key in run.sample], np.int64))
    inner = sample[[len(sample) * part // count for part in range(1, count)]] >> 32 << 32
    return list(pairwise([-(2**63), *np.unique(inner).tolist(), 2**63 - 1]))


def _merge(folder: Path, files: Sequence[str], what: tuple[int, tuple[int, int]]) -> list[Part]:
    """The keys of a range out of all runs; none are no part."""
    number, bounds = what
    runs = [np.memmap(folder / file, np.int64, "r") for file in files]
    slices = [run[slice(*np.searchsorted(run, bounds))] for run in runs]
    keys = np.concatenate([np.zeros(0, np.int64), *slices])
    keys.sort(kind="stable")  # which merges runs: 12 ns a key of four, against 75
    keys = _write(folder / f"part-{number}", keys)
    return [Part(int(keys[0] >> 32), int(keys[-1] >> 32), f"part-{number}", len(keys))] if len(keys) else []


def _place(folder: Path, what: tuple[Part, tuple[int, int], int]) -> None:
    """Copy a part to its place: that of the nodes ``start <= i < end``, whose first entry is number ``base``."""
    part, (start, end), base = what
    keys = np.fromfile(folder / part.file, np.int64)
    write(folder / "ids.npy", base, keys & 0xFFFFFFFF)
    counts = np.bincount((keys >> 32) - start, minlength=end - start)
    write(folder / "offsets.npy", start + 1, base + np.cumsum(counts))
