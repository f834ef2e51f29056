"""The compiled kernel behind a typed function. ``kernel.c`` says what it computes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roilake import native

SOURCE = Path(__file__).with_name("kernel.c")
SAMPLERS = {"roi": 0, "weighted": 1, "uniform": 2}
INSTRUCTION_SETS = ("plain C", "AVX2", "AVX512-VNNI")
LANES = 32  # vectors are padded with zeros to a multiple of this


_NUMBERS = ("lists", "per_row", "fanout", "stride", "dim", "by_edge", "sampler")
_POINTERS = ("first", "last", "ids", "vectors", "focal", "skip", "key", "neighbours", "relevance")


class _Job(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int64) for name in _NUMBERS), *((name, ctypes.c_void_p) for name in _POINTERS))


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


def instruction_set() -> str:
    """Name of the instruction set that the kernel uses on this machine."""
    return INSTRUCTION_SETS[_library().roi_instruction_set()]


def _check(neighbours: NDArray, relevance: NDArray, dim: int, focal_dim: int, end: int) -> None:
    written = neighbours.flags.c_contiguous and relevance.flags.c_contiguous
    typed = neighbours.dtype == np.int32 and relevance.dtype == np.int8 and neighbours.shape == relevance.shape
    if not (written and typed and dim % LANES == 0 and focal_dim == dim and end <= neighbours.shape[1]):
        raise ValueError("ROI kernel: outputs or vectors of the wrong shape or type")


@cache
def _library() -> ctypes.CDLL:
    """Load the kernel once a process. Raises RoilakeError when it is missing or older than its source."""
    library = native.load(SOURCE)
    library.roi_expand.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library
