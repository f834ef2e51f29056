"""The compiled kernel behind typed functions; ``kernel.c`` says what it computes.

Legend: N events or records, W words of a record (key, units; timed: first and last time), E pairs, P parts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake import native

SOURCE = Path(__file__).with_name("kernel.c")
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ids = NDArray[np.int32]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]
EVENT = np.dtype([("time", np.int64), ("item", np.int32), ("query", np.int32)])
"""An event of a user: microseconds, and ids (query -1: none)."""


@dataclass(frozen=True)
class Key:
    """Bits of a record's key, from low to high: cut, target, source."""

    cut: int
    target: int
    source: int

    @property
    def bits(self) -> int:
        return self.cut + self.target + self.source


@dataclass(frozen=True)
class Layout:
    """How the records of a run read in other terms: the run's own ``key``; cut c of it is now cut ``cut[c]``, and
    its units count ``worth[c]`` times."""

    key: Key
    cut: Longs
    worth: Floats


@dataclass(frozen=True)
class Pairs:
    """Pairs at one instant, sorted by (source, target). Times are there for timed records only."""

    source_E: Ids
    target_E: Ids
    weight_E: NDArray[np.float32]
    first_E: Longs | None
    last_E: Longs | None


@dataclass(frozen=True)
class Lists:
    """The strongest neighbours of each source: list i is ``starts[i] ... starts[i + 1]`` of ids and weights."""

    source: Ids
    starts: Ids
    ids: Ids
    weights: NDArray[np.float32]


def index_keys(text: Bytes, at: Longs) -> Ids:
    """Slots of a hash table over the keys ``text[at[i]:at[i + 1]]``."""
    slots = np.full(1 << max(2 * (len(at) - 1), 2).bit_length(), -1, np.int32)
    _library().keys_index(_at(text), _at(at), _long(len(at) - 1), _at(slots), _long(len(slots)))
    return slots


def find_keys(text: Bytes, at: Longs, slots: Ids, asked: Bytes, asked_at: Ids) -> Ids:
    """Number of each asked key, -1 for one that is not there."""
    ids = np.empty(len(asked_at) - 1, np.int32)
    arrays = (_at(text), _at(at), _at(slots), _long(len(slots)), _at(asked), _at(asked_at))
    _library().keys_find(*arrays, _long(len(ids)), _at(ids))
    return ids


def first_times(codes_N: Ids, time_N: Longs, number: int) -> tuple[Longs, Longs]:
    """Earliest time and number of events of each of ``number`` codes; code -1 is none."""
    first, count = np.full(number, np.iinfo(np.int64).max), np.zeros(number, np.int64)
    _library().keys_seen(_at(codes_N), _at(time_N), _long(len(codes_N)), _at(first), _at(count))
    return first, count


def fill(
    source_N: Ids,
    target_N: Ids,
    cut_N: Longs,
    units_N: Words,
    time_N: Longs | None,
    key: Key,
    *,
    alike: bool,
    records_NW: Words,
) -> int:
    """Write records of contributions to the front of ``records_NW``; how many there are. Those without one of their
    ends (-1), and those of a node with itself, are none. ``alike``: ends are of one type, the smaller is the source."""
    arrays = (source_N, target_N, cut_N, units_N, time_N)
    sizes = (len(source_N), records_NW.shape[1], key.cut, key.target, int(alike))
    return int(_library().records_fill(*(_at(a) for a in arrays), *map(_long, sizes), _at(records_NW)))


def spill(records_NW: Words, key: Key, spread: Bytes | None, parts: int) -> tuple[Bytes, Longs]:
    """Runs of all parts, sorted and summed up, and where each starts; good until the next call. Uses up the records."""
    number, width = records_NW.shape
    out = buffer("bytes", number * (width + 1) + parts).view(np.uint8)
    offsets, scratch = np.zeros(parts + 1, np.int64), buffer("scratch", number * width)
    sizes = (number, width, key.cut, key.target, key.bits)
    _library().records_spill(
        _at(records_NW), _at(scratch), *map(_long, sizes), _at(spread), _long(parts), _at(out), _at(offsets)
    )
    return out[: offsets[-1]], offsets


def gather(runs: Sequence[tuple[Bytes, Layout]], width: int, key: Key) -> Words:
    """Records of some runs, of which there is one at least, by ``key``, summed up; good until the next call."""
    counts = [int(run[:8].view(np.int64)[0]) for run, _ in runs]
    first = counts.index(max(counts))  # merged with the others, which are sorted: a night's few, say
    ordered = [runs[first], *runs[:first], *runs[first + 1 :]]
    records = buffer("records", sum(counts) * width).reshape(-1, width)
    scratch = buffer("scratch", (sum(counts) - counts[first]) * width)
    layouts = [layout for _, layout in ordered]
    lows, mids = (np.array([getattr(layout.key, name) for layout in layouts]) for name in ("cut", "target"))
    arrays = (
        _pointers([run for run, _ in ordered]), _long(len(runs)), _long(width), _at(lows), _at(mids),
        _pointers([layout.cut for layout in layouts]), _pointers([layout.worth for layout in layouts]),
    )  # fmt: skip
    sizes = map(_long, (key.cut, key.target, key.bits))
    number = _library().records_gather(*arrays, *sizes, _at(records), _at(scratch))
    if number < 0:
        raise MemoryError("graph kernel: no memory for runs")
    return records[:number]


def encode(records_NW: Words) -> Bytes:
    """The run of records as ``gather`` gives them; good until the next call."""
    number, width = records_NW.shape
    out = buffer("bytes", number * (width + 1) + 1).view(np.uint8)
    return out[: _library().records_encode(_at(records_NW), _long(number), _long(width), _at(out))]


def pairs_at(records_NW: Words, key: Key, now: int, decay: Floats, scale: float) -> Pairs:
    """Pairs as of cut number ``now``; ``decay[c]`` is what a unit of cut c is worth in units of that cut, and ``scale``
    what a unit weighs then."""
    number, width = records_NW.shape
    source, target, weight = (np.empty(number, kind) for kind in (np.int32, np.int32, np.float32))
    first, last = (np.empty(number, np.int64) if width == 4 else None for _ in range(2))
    outputs = (source, target, weight, first, last)
    sizes = (number, width, key.cut, key.target, now)
    found = _library().records_pairs(
        _at(records_NW),
        *map(_long, sizes),
        _at(np.ascontiguousarray(decay)),
        ctypes.c_double(scale),
        *(_at(array) for array in outputs),
    )
    return Pairs(*(None if array is None else array[:found] for array in outputs))  # type: ignore[arg-type]


def sort_events(
    user_N: Ids, time_N: Longs, item_N: Ids, query_N: Ids, first: int, users: int
) -> tuple[NDArray[np.void], Longs]:
    """The distinct events (``EVENT``) of the users ``first ... first + users - 1`` by (user, time, item, query), and
    where each user's start (and, last, where all end); good until the next call."""
    out, starts = buffer("records", len(user_N) * EVENT.itemsize // 8).view(EVENT), np.zeros(users + 1, np.int64)
    arrays = (_at(user_N), _at(time_N), _at(item_N), _at(query_N))
    sizes = map(_long, (len(user_N), first, users))
    return out[: _library().histories_sort(*arrays, *sizes, _at(out), _at(starts))], starts


def spill_lists(
    source_E: Ids, target_E: Ids, weight_E: NDArray[np.float32], nodes: int, most: int, parts: int
) -> tuple[Bytes, Longs]:
    """The ``most`` strongest targets of each source, and where the lists of each part start; good until the next
    call."""
    out, offsets = buffer("bytes", 2 * len(source_E)).view(np.uint8), np.zeros(parts + 1, np.int64)
    arrays = (_at(source_E), _at(target_E), _at(weight_E))
    sizes = map(_long, (len(source_E), nodes, most, parts))
    if _library().lists_spill(*arrays, *sizes, _at(buffer("scratch", len(source_E))), _at(out), _at(offsets)):
        raise MemoryError("graph kernel: no memory for lists")
    return out[: offsets[-1]], offsets


def merge_lists(pieces: Sequence[Bytes], most: int) -> Lists:
    """The strongest ``most`` of each source over all pieces, which hold different targets; by source."""
    lists, entries = ctypes.c_int64(), ctypes.c_int64()
    for piece in pieces:
        _library().lists_size(_at(piece), _long(len(piece)), ctypes.byref(lists), ctypes.byref(entries))
    found, scratch = (np.empty((lists.value, 2), np.uint64) for _ in range(2))
    source, starts = np.empty(lists.value, np.int32), np.zeros(lists.value + 1, np.int32)
    ids, weights = np.empty(entries.value, np.int32), np.empty(entries.value, np.float32)
    sizes = np.array([len(piece) for piece in pieces], np.int64)
    outputs = (found, scratch, source, starts, ids, weights)
    number = _library().lists_merge(
        _pointers(pieces), _at(sizes), _long(len(pieces)), _long(most), *(_at(array) for array in outputs)
    )
    if number < 0:
        raise MemoryError("graph kernel: no memory for lists")
    end = starts[number]
    return Lists(source[:number], starts[: number + 1], ids[:end], weights[:end])


_buffers: dict[str, Words] = {}


def buffer(name: str, words: int) -> Words:
    """The first words of a buffer that lives as long as the process: fresh memory costs more than sorting in it."""
    if name not in _buffers or len(_buffers[name]) < words:
        _buffers.pop(name, None)
        _buffers[name] = np.empty(words, np.uint64)
    return _buffers[name][:words]


def _at(array: NDArray[Any] | None) -> ctypes.c_void_p:
    if array is not None and not array.flags.c_contiguous:
        raise ValueError("graph kernel: an array does not lie in one piece")
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _pointers(arrays: Sequence[NDArray[Any]]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


_long = ctypes.c_int64


@cache
def _library() -> ctypes.CDLL:
    """Load the kernel once a process. Raises RoilakeError when it is missing or older than its source."""
    library = native.load(SOURCE)
    for name in ("records_fill", "records_gather", "records_encode", "records_pairs", "lists_merge", "histories_sort"):
        getattr(library, name).restype = ctypes.c_int64
    return library
