"""The compiled kernel behind typed functions; ``kernel.c`` says what it computes.

Legend of shape suffixes: N nodes, n some, E edges (each both ways), e some, B bins of degrees, C bins of cosines,
R rounds, S anchors, M landmarks, in G groups of L lanes with up to K entries."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake import native
from roilake.pipelines.node_labels.distribution.rows import Rows

SOURCE = Path(__file__).with_name("kernel.c")
LANES = 32
PAIR = np.dtype([("bin", np.int32), ("count", np.int32)])
Floats = NDArray[np.float32]


class _Rows(ctypes.Structure):
    _fields_ = (("nodes", ctypes.c_int64), ("offsets", ctypes.c_void_p), ("ids", ctypes.c_void_p))


class _Landmarks(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("groups", "bins", "longest")),
        *((name, ctypes.c_void_p) for name in ("cost", "weight", "length")),
    )


@dataclass(frozen=True)
class Landmarks:
    """The sequences that others are held against: entry k has a cost against each bin, and a weight."""

    cost_GBKL: Floats
    weight_GKL: Floats
    length_GL: NDArray[np.int32]


def bin_neighbours(graph: Rows, bin_N: NDArray[np.uint8], bins: int, first: int, last: int) -> NDArray:
    """(bin, count) of the degrees of neighbours, for each entry of the nodes' rows: as many as a row needs, then a
    count of 0."""
    pairs_e = np.empty(graph.offsets_N1[last] - graph.offsets_N1[first], PAIR)
    _library().bin_neighbours(*_c(graph, bin_N, bins, first, last, pairs_e))
    return pairs_e


def count_walks(graph: Rows, pairs_E: NDArray, bins: int, nodes_n: NDArray[np.int32]) -> NDArray[np.int64]:
    """Ends of walks of length 1 and 2 by bin of their degree, [n, 2, B], of what ``bin_neighbours`` wrote."""
    counts = np.zeros((len(nodes_n), 2, bins), np.int64)
    _library().count_walks(*_c(graph, pairs_E, bins, np.ascontiguousarray(nodes_n, np.int32), len(nodes_n), counts))
    return counts


def distances(weight_nB: Floats, landmarks: Landmarks) -> Floats:
    """Dynamic time warping between sequences and landmarks, [n, G * L]; infinite where either is empty."""
    groups, bins, longest, lanes = landmarks.cost_GBKL.shape
    distance = np.zeros((len(weight_nB), groups * lanes), np.float32)
    arrays = (landmarks.cost_GBKL, landmarks.weight_GKL, landmarks.length_GL)
    job = _Landmarks(groups, bins, longest, *(array.ctypes.data for array in arrays))
    row = np.empty(longest * lanes, np.float32)
    _library().add_distances(*_c(np.ascontiguousarray(weight_nB), len(weight_nB), job, row, distance))
    return distance


def spread(graph: Rows, mask_N: NDArray[np.uint64], first: int, last: int) -> tuple[NDArray[np.uint64], bool]:
    """One round of breadth-first search by bits: the next masks, [n], and whether any changed."""
    next_n = np.empty(last - first, np.uint64)
    return next_n, bool(_library().spread(*_c(graph, mask_N, first, last, next_n)))


def nearness(mask_Rn: NDArray[np.uint64], anchors: int) -> Floats:
    """1 / (1 + round) of the first round that has an anchor's bit, [n, S]; 0 without one."""
    position = np.zeros((mask_Rn.shape[1], anchors), np.float32)
    _library().nearness(*_c(mask_Rn, *mask_Rn.shape, anchors, position))
    return position


def compare_features(graph: Rows, features: Rows, bins: int, first: int, last: int) -> Floats:
    """Shares of neighbours by cosine of feature sets, [n, C]."""
    share = np.zeros((last - first, bins), np.float32)
    _library().compare_features(*_c(graph, features, bins, first, last, share))
    return share


def _c(*arguments: Any) -> list[Any]:
    """Each as C takes it."""
    return [_argument(each) for each in arguments]


def _argument(value: Any) -> Any:
    if isinstance(value, Rows):
        return ctypes.byref(_Rows(value.nodes, value.offsets_N1.ctypes.data, value.ids_E.ctypes.data))
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return value.ctypes.data_as(ctypes.c_void_p)  # which keeps the array alive
    return ctypes.byref(value) if isinstance(value, ctypes.Structure) else ctypes.c_int64(value)


@cache
def _library() -> ctypes.CDLL:
    library = native.load(SOURCE)
    library.spread.restype = ctypes.c_int64
    return library
