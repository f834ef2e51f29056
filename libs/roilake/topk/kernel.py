"""The compiled kernel behind typed functions. ``kernel.c`` says what it computes.

Legend: R rows of a tile, J its items, K kept items, P asked items (flat), E seen pairs.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from roilake import native
from roilake.errors import MetricError

SOURCE = Path(__file__).with_name("kernel.c")
SPARE = 128  # places of a buffer beyond 2 k: two of the kernel's groups


class _Tile(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "items", "first", "keep", "room")),
        *((name, ctypes.c_void_p) for name in ("scores", "seen_row", "seen", "keys", "count", "bound")),
    )


@dataclass(frozen=True)
class Hidden:
    """Items not to be shown: those of row r are ``item_E[first_R1[r] : first_R1[r + 1]]``, ascending."""

    first_R1: NDArray[np.int64]
    item_E: NDArray[np.int32]


class Best:
    """The ``k`` best of R rows, while the scores of their items pass by in ascending order of items."""

    def __init__(self, hidden: Hidden, k: int) -> None:
        rows = len(hidden.first_R1) - 1
        self._hidden, self._k = hidden, k
        self._keys = np.empty((rows, 2 * k + SPARE), np.uint64)
        self._count = np.zeros(rows, np.int64)
        self._bound = np.full(rows, -np.inf, np.float32)

    def add(self, scores_RJ: Tensor, first: int) -> None:
        """Take in the scores of the items from ``first`` on; those of hidden items are overwritten."""
        scores_RJ = scores_RJ.contiguous()
        _check(_library().topk_scan(ctypes.byref(self._tile(scores_RJ, first))))

    def keys(self) -> NDArray[np.uint64]:
        """The keys [R, K], in any order, 0 where fewer than K items are left: see ``decode``."""
        _library().topk_finish(ctypes.byref(self._tile(None, 0)))
        return self._keys[:, : self._k]

    def _tile(self, scores_RJ: Tensor | None, first: int) -> _Tile:
        return _Tile(
            *(len(self._keys), 0 if scores_RJ is None else scores_RJ.shape[1], first),
            *(self._k, self._keys.shape[1]),
            None if scores_RJ is None else scores_RJ.data_ptr(),
            *(self._hidden.first_R1.ctypes.data, self._hidden.item_E.ctypes.data),
            *(self._keys.ctypes.data, self._count.ctypes.data, self._bound.ctypes.data),
        )


def decode(keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and items of keys; -inf and -1 for a key of 0."""
    high = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(high >> np.uint32(31), high & np.uint32(0x7FFFFFFF), ~high)
    item = (~keys.astype(np.uint32)).astype(np.int64)
    return np.where(keys == 0, np.float32(-np.inf), bits.view(np.float32)), np.where(keys == 0, -1, item)


def count_before(
    scores_RJ: Tensor,
    first: int,
    hidden: Hidden,
    place_R1: NDArray[np.int64],
    item_P: NDArray[np.int64],
    own_P: NDArray[np.float32],
    before_P: NDArray[np.int64],
) -> None:
    """Add to ``before_P`` how many of the tile's items stand before ``item_P``, whose scores are ``own_P``; those of
    row r lie at ``place_R1[r] <= p < place_R1[r + 1]``. Scores of hidden items are overwritten."""
    scores_RJ = scores_RJ.contiguous()
    tile = _Tile(rows=scores_RJ.shape[0], items=scores_RJ.shape[1], first=first, scores=scores_RJ.data_ptr())
    tile.seen_row, tile.seen = hidden.first_R1.ctypes.data, hidden.item_E.ctypes.data
    arrays = (place_R1, item_P, own_P, before_P)
    _check(_library().topk_count(ctypes.byref(tile), *(array.ctypes.data for array in arrays)))


def _check(problem: int) -> None:
    if problem:
        raise MetricError("a score is NaN or overflows float32: the model diverged or its vectors are too long")


@cache
def _library() -> ctypes.CDLL:
    """Load the kernel once a process. Raises RoilakeError when it is missing or older than its source."""
    library = native.load(SOURCE)
    library.topk_finish.restype = None
    library.topk_count.argtypes = (ctypes.c_void_p,) * 5
    return library
