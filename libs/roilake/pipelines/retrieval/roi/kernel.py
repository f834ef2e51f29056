"""The compiled kernel behind a typed function. ``kernel.c`` says what it computes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roilake import native

SOURCE = Path(__file__).with_name("kernel.c")
SAMPLERS = {"roi": 0, "weighted": 1, "uniform": 2}
INSTRUCTION_SETS = ("plain C", "AVX2", "AVX512-VNNI")
LANES = 32  # vectors are padded with zeros to a multiple of this
MOST = 4096  # coordinates


_NUMBERS = ("lists", "per_row", "fanout", "stride", "dim", "by_edge", "sampler")
_POINTERS = ("first", "last", "ids", "vectors", "focal", "skip", "key", "neighbours", "relevance")


class _Job(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int64) for name in _NUMBERS), *((name, ctypes.c_void_p) for name in _POINTERS))


_HISTORY = (
    *((name, ctypes.c_int64) for name in ("rows", "fanout", "stride", "places", "dim", "sampler", "longest")),
    *((name, ctypes.c_void_p) for name in ("weights", "first", "last", "ids", "time", "now", "query", "link_first")),
    ("links", ctypes.c_void_p), ("linkable", ctypes.c_int64), ("vectors", ctypes.c_void_p), ("known", ctypes.c_int64),
    *((name, ctypes.c_void_p) for name in ("focal", "key", "neighbours", "relevance", "linked", "ages")),
)  # fmt: skip


class _History(ctypes.Structure):
    _fields_ = _HISTORY  # type: ignore[assignment]


class Place(NamedTuple):
    """Where a history slot begins: among all entries of a row, and among those of history slots."""

    start: int
    place: int


@dataclass(frozen=True)
class Lists:
    """Neighbour lists to choose from. Legend: L lists, E edges, V edges or nodes, D dimension, B rows.

    List l holds the edges ``first_L[l] <= e < last_L[l]`` and belongs to row ``l // (L / B)``. The vector of edge e's
    neighbour is ``vectors_VD[e]`` if ``by_edge``, else ``vectors_VD[ids_E[e]]``."""

    first_L: NDArray[np.int64]
    last_L: NDArray[np.int64]
    ids_E: NDArray[np.int32]
    vectors_VD: NDArray[np.int8]
    by_edge: bool


@dataclass(frozen=True)
class Queries:
    """What the rows query their lists for: focal, the id never to keep (-1: none), key of each list's draw."""

    focal_BD: NDArray[np.int16]
    skip_B: NDArray[np.int32]
    key_L: NDArray[np.uint64]


def expand(
    lists: Lists,
    queries: Queries,
    fanout: int,
    sampler: str,
    neighbours_BS: NDArray[np.int32],
    relevance_BS: NDArray[np.int8],
    *,
    start: int = 0,
    instruction_set: int | None = None,
) -> None:
    """Keep the top ``fanout`` of each list; the p-th list of a row goes to slots ``start + p * fanout ...``.

    The outputs must come filled with -1 and 0. ``instruction_set`` caps the one that is used (for tests)."""
    library, rows = _library(), len(queries.focal_BD)
    arrays = (lists.first_L, lists.last_L, lists.ids_E, lists.vectors_VD, *vars(queries).values())
    dtypes = (np.int64, np.int64, np.int32, np.int8, np.int16, np.int32, np.uint64)
    inputs = [np.ascontiguousarray(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
    if not rows or not len(lists.first_L):
        return
    per_row, stride, dim = len(lists.first_L) // rows, neighbours_BS.shape[1], lists.vectors_VD.shape[1]
    _check(neighbours_BS, relevance_BS, dim, queries.focal_BD.shape[1], start + per_row * fanout)
    job = _Job(
        *(len(lists.first_L), per_row, fanout, stride, dim, int(lists.by_edge), SAMPLERS[sampler]),
        *(array.ctypes.data for array in inputs),
        neighbours_BS.ctypes.data + start * 4,
        relevance_BS.ctypes.data + start,
    )
    best = library.roi_instruction_set()
    chosen = best if instruction_set is None else min(best, instruction_set)
    if library.roi_expand(ctypes.byref(job), chosen):
        raise MemoryError("ROI kernel: no memory")


@dataclass(frozen=True)
class Events:
    """Events to choose neighbours from, and the vectors and links of these. Legend: E events, V nodes, J linkable ones.

    Neighbour j is linked to the queries ``links_E[link_J1[j] : link_J1[j + 1]]``; without ``link_J1`` to itself."""

    ids_E: NDArray[np.int32]
    time_E: NDArray[np.int64]
    vectors_VD: NDArray[np.int8]
    link_J1: NDArray[np.int64] | None = None
    links_E: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Asked:
    """Whose histories are asked for: events ``first_B[b] <= e < last_B[b]`` before ``time_B``, with ``query_B`` (-1:
    none), focal, and the key of each uniform draw."""

    first_B: NDArray[np.int64]
    last_B: NDArray[np.int64]
    time_B: NDArray[np.int64]
    query_B: NDArray[np.int32]
    focal_BD: NDArray[np.int16]
    key_B: NDArray[np.uint64]


@dataclass(frozen=True)
class Tree:
    """Entries of the history slots, filled slot by slot. Legend: B rows, S slots' entries, H those of history slots."""

    neighbours_BS: NDArray[np.int32]
    relevance_BS: NDArray[np.int8]
    linked_BH: NDArray[np.int8]
    ages_BH: NDArray[np.int8]

    @classmethod
    def empty(cls, rows: int, size: int, places: int) -> Tree:
        """All padding."""
        ages_BH = np.full((rows, places), 127, np.int8)
        neighbours_BS, relevance_BS = np.full((rows, size), -1, np.int32), np.zeros((rows, size), np.int8)
        return cls(neighbours_BS, relevance_BS, np.zeros((rows, places), np.int8), ages_BH)


def choose(
    events: Events, asked: Asked, fanout: int, sampler: str, weights: Sequence[float], tree: Tree, at: Place,
    *, instruction_set: int | None = None,
) -> None:  # fmt: skip
    """Keep the top ``fanout`` of each history, at entries ``at.start ...`` and places ``at.place ...`` of the rows."""
    library, rows, dim = _library(), len(asked.first_B), events.vectors_VD.shape[1]
    if not rows:
        return
    _check(tree.neighbours_BS, tree.relevance_BS, dim, asked.focal_BD.shape[1], at.start + fanout)
    inputs = {
        "first": (asked.first_B, np.int64), "last": (asked.last_B, np.int64), "ids": (events.ids_E, np.int32),
        "time": (events.time_E, np.int64), "now": (asked.time_B, np.int64), "query": (asked.query_B, np.int32),
        "vectors": (events.vectors_VD, np.int8), "focal": (asked.focal_BD, np.int16), "key": (asked.key_B, np.uint64),
        "weights": (np.array(weights), np.float64),
    }  # fmt: skip
    if events.link_J1 is not None:
        inputs |= {"link_first": (events.link_J1, np.int64), "links": (events.links_E, np.int32)}
    held = {name: np.ascontiguousarray(array, dtype) for name, (array, dtype) in inputs.items()}
    job = _History(
        rows=rows, fanout=fanout, stride=tree.neighbours_BS.shape[1], places=tree.linked_BH.shape[1],
        dim=dim, sampler=SAMPLERS[sampler], known=len(events.vectors_VD),
        longest=int((asked.last_B - asked.first_B).max()),
        linkable=0 if events.link_J1 is None else len(events.link_J1) - 1,
        neighbours=tree.neighbours_BS.ctypes.data + 4 * at.start, relevance=tree.relevance_BS.ctypes.data + at.start,
        linked=tree.linked_BH.ctypes.data + at.place, ages=tree.ages_BH.ctypes.data + at.place,
        **{name: array.ctypes.data for name, array in held.items()},
    )  # fmt: skip
    best = library.roi_instruction_set()
    if library.roi_history(ctypes.byref(job), best if instruction_set is None else min(best, instruction_set)):
        raise MemoryError("ROI kernel: no memory")


def count_repeats(
    first_B: NDArray[np.int64],
    last_B: NDArray[np.int64],
    ids_E: NDArray[np.int32],
    wanted_W: NDArray[np.int32],
    at_B1: NDArray[np.integer],
) -> NDArray[np.int32]:
    """How many of each row's wanted ids ``wanted_W[at_B1[b] : at_B1[b + 1]]`` are in its history, the events
    ``first_B[b] <= e < last_B[b]`` [B]."""
    count_B = np.zeros(len(first_B), np.int32)
    arrays = (first_B, last_B, ids_E, at_B1, wanted_W)
    dtypes = (np.int64, np.int64, np.int32, np.int64, np.int32)
    held = [np.ascontiguousarray(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
    _library().roi_repeats(len(count_B), *(array.ctypes.data for array in (*held, count_B)))
    return count_B


def instruction_set() -> str:
    """Name of the instruction set that the kernel uses on this machine."""
    return INSTRUCTION_SETS[_library().roi_instruction_set()]


def _check(neighbours: NDArray, relevance: NDArray, dim: int, focal_dim: int, end: int) -> None:
    written = neighbours.flags.c_contiguous and relevance.flags.c_contiguous
    typed = neighbours.dtype == np.int32 and relevance.dtype == np.int8 and neighbours.shape == relevance.shape
    if not (written and typed and dim % LANES == 0 and dim <= MOST and focal_dim == dim and end <= neighbours.shape[1]):
        raise ValueError("ROI kernel: outputs or vectors of the wrong shape or type")


@cache
def _library() -> ctypes.CDLL:
    """Load the kernel once a process. Raises RoilakeError when it is missing or older than its source."""
    library = native.load(SOURCE)
    library.roi_expand.argtypes = library.roi_history.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.roi_repeats.argtypes, library.roi_repeats.restype = (ctypes.c_int64, *(ctypes.c_void_p,) * 6), None
    return library
