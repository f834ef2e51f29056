"""Degree sequences in short, and how far they are from those of landmarks.

A sequence of degrees is the list of its bins that are not empty, ascending. A quarter octave of degrees is a bin, and
the bin's degree is the least in it (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...): BINS of them hold all that an int
can be. struc2vec (Ribeiro et al. 2017, OPT1) makes runs of equal degrees one entry in the same way.

An entry's weight is log2(1 + count), where struc2vec has the count. On chameleon, squirrel and power-law graphs, counts
leave a third of a hub's similarities below 0.01: they swamp all else. By logarithms it is a fifth, and fewer of all
other nodes' than by anything else. Shares of the sequence make hubs alike (deviation 0.016 over the hubs of 50,000
nodes, against 0.044). Labels tell little between them: 15-nearest neighbours get 0.448 right by shares, 0.440 by
counts, 0.437 by logarithms (mean of chameleon, its filtered set, squirrel, actor, texas and wisconsin).

Legend of shape suffixes: n nodes, M landmarks, H two hops, B bins, K entries of the longest landmark."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.pipelines.node_labels.distribution import kernel
from roilake.pipelines.node_labels.distribution.kernel import LANES, Floats, Landmarks

DEGREE_B = np.unique([1 + isqrt(isqrt(2**quarter - 1)) for quarter in range(124)])
"""The least degree of each bin: 2^(quarter / 4), rounded up."""
BINS = len(DEGREE_B)
NO_BIN = 255
"""Of a node without neighbours."""
_EVEN_B = DEGREE_B + 0.5
RATIO_BB = (np.maximum.outer(_EVEN_B, _EVEN_B) / np.minimum.outer(_EVEN_B, _EVEN_B) - 1).astype(np.float32)
"""What it costs to match two degrees: (max + 0.5) / (min + 0.5) - 1."""


def bin_of(degree_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bin of each degree; ``NO_BIN`` of 0."""
    return (np.searchsorted(DEGREE_B, degree_N, side="right") - 1).astype(np.uint8)


def weights(counts_nHB: NDArray[np.int64]) -> Floats:
    """log2(1 + count), 0 for what is in no sequence."""
    return np.log2(1.0 + counts_nHB).astype(np.float32)


def landmarks_of(counts_MHB: NDArray[np.int64]) -> list[Landmarks]:
    """Those of each hop as the kernel takes them."""
    weight_MHB = weights(counts_MHB)
    return [_side_by_side(weight_MHB[:, hop]) for hop in range(2)]


def _side_by_side(weight_MB: Floats) -> Landmarks:
    groups = max(1, -(-len(weight_MB) // LANES))
    padded = np.zeros((groups * LANES, BINS), np.float32)
    padded[: len(weight_MB)] = weight_MB
    length = np.count_nonzero(padded, axis=1)
    bins_MK = np.argsort(padded == 0, axis=1, kind="stable")[:, : max(1, length.max())]
    cost = RATIO_BB[:, bins_MK].reshape(BINS, groups, LANES, -1)
    weight = np.take_along_axis(padded, bins_MK, axis=1).reshape(groups, LANES, -1)
    return Landmarks(
        np.ascontiguousarray(cost.transpose(1, 0, 3, 2)),
        np.ascontiguousarray(weight.transpose(0, 2, 1)),
        length.astype(np.int32).reshape(groups, LANES),
    )


def distances(counts_nHB: NDArray[np.int64], landmarks: Sequence[Landmarks]) -> Floats:
    """D(i, l) = sum over both hops of DTW(s(i), s(l)), [n, M or more]; the cost of a match is ``RATIO_BB`` times the
    larger of the two weights. Infinite where either is empty."""
    weight_nHB = weights(counts_nHB)
    one, two = (kernel.distances(weight_nHB[:, hop], each) for hop, each in enumerate(landmarks))
    return one + two


def lowest(nodes: NDArray, strata: NDArray, count: int, *key: int) -> tuple[NDArray, NDArray]:
    """Of each stratum the ``count`` nodes of lowest hash, by (stratum, hash), and their ranks in it. What this leaves
    of parts of the nodes, taken together, gives the same again."""
    order = np.lexsort((nodes, keyed_hash(*key, nodes), strata))
    rank = np.arange(len(order)) - np.searchsorted(strata[order], strata[order])
    return nodes[order[rank < count]], rank[rank < count]


def evenly(nodes: NDArray, strata: NDArray, count: int, *key: int) -> NDArray:
    """``count`` nodes, as evenly from all strata as there are some, by (stratum, hash): first the lowest of each, then
    the second ones."""
    drawn, rank = lowest(nodes, strata, count, *key)
    return drawn[np.sort(np.lexsort((keyed_hash(*key, drawn), rank))[:count])]
