"""What node models know of a node's surroundings, in memory by plain numpy and scipy: the same definitions as step
``build_node_distribution`` computes in Spark.

Legend of shape suffixes: N nodes, E directed edges, F features, M landmarks, S anchors, B bins of similarity, Q bins of
degree, L places of a sequence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from roilake.hashing import keyed_hash

Floats = NDArray[np.float64]
LANDMARKS, ANCHORS, BINS = 64, 64, 8
PER_OCTAVE = 4
_EPS = 0.5  # added to both degrees of a pair
_PAIRS = 1 << 19  # of a node and a landmark at once


def topology(adjacency: csr_matrix, seed: int) -> NDArray[np.float32]:
    """exp(-D / median D) [N, M] of each node and landmark, D = sum over k = 1, 2 of DTW(s_k(i), s_k(j)).

    s_1 holds the degrees of a node's neighbours, s_2 those of the ends of all walks of two steps from it; each as
    (degree, count) by quarter octaves, ascending. A pair costs ((max(a, b) + 1/2) / (min(a, b) + 1/2) - 1) max(count)
    (OPT1 of struc2vec; Ribeiro et al. 2017). A node without neighbours has one place, of degree and count 0."""
    degree_N = np.diff(adjacency.indptr)
    bin_N = np.floor(PER_OCTAVE * np.log2(np.maximum(degree_N, 1))).astype(np.int64)
    one_hot = csr_matrix((np.ones(len(bin_N)), (np.arange(len(bin_N)), bin_N)))
    first = adjacency @ one_hot
    landmark_M = stratified(degree_N, LANDMARKS, seed)
    distance_NM = sum(_distances(np.asarray(hop.todense()), landmark_M) for hop in (first, adjacency @ first))
    scale = float(np.median(distance_NM)) or 1.0
    return np.exp(-distance_NM / scale).astype(np.float32)


def stratified(degree_N: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Of each of so many equal parts of the nodes by degree the one of least hash; all nodes where there are fewer."""
    hash_N = keyed_hash(seed, np.arange(len(degree_N)))
    parts = np.array_split(np.lexsort((hash_N, degree_N)), min(count, len(degree_N)))
    return np.array([part[hash_N[part].argmin()] for part in parts])


def _distances(count_NQ: Floats, landmark_M: NDArray[np.int64]) -> Floats:
    """DTW [N, M] between the sequences of nodes and landmarks."""
    degree_NL, count_NL, length_N = _sequences(count_NQ)
    distance_NM = np.empty((len(count_NQ), len(landmark_M)))
    rows = max(1, _PAIRS // len(landmark_M))
    for start in range(0, len(count_NQ), rows):
        part = slice(start, start + rows)
        own = degree_NL[part], count_NL[part], length_N[part]
        distance_NM[part] = _dtw(own, (degree_NL[landmark_M], count_NL[landmark_M], length_N[landmark_M]))
    return distance_NM


def _sequences(count_NQ: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Degrees and counts [N, L] of the bins that a node has, ascending, and how many they are (at least one)."""
    length_N = np.maximum((count_NQ > 0).sum(axis=1), 1)
    order_NL = np.argsort(count_NQ == 0, axis=1, kind="stable")[:, : length_N.max()]
    count_NL = np.take_along_axis(count_NQ, order_NL, axis=1)
    degree_NL = np.where(count_NL > 0, 2.0 ** (order_NL / PER_OCTAVE), 0.0)
    return degree_NL, count_NL, length_N


def _dtw(own: tuple[Floats, Floats, NDArray[np.int64]], other: tuple[Floats, Floats, NDArray[np.int64]]) -> Floats:
    """c(a, b) + min of the three before it, from both starts to both ends, for all pairs at once."""
    (degree_NL, count_NL, length_N), (other_ML, times_ML, length_M) = own, other
    shape = len(degree_NL), len(other_ML)
    found_NM = np.zeros(shape)
    before = [np.zeros(shape)] + [np.full(shape, np.inf)] * other_ML.shape[1]
    for place in range(degree_NL.shape[1]):
        row = [np.full(shape, np.inf)]
        a_N1, times_N1 = degree_NL[:, place, None], count_NL[:, place, None]
        for column in range(other_ML.shape[1]):
            b_M = other_ML[:, column]
            ratio_NM = (np.maximum(a_N1, b_M) + _EPS) / (np.minimum(a_N1, b_M) + _EPS)
            cost_NM = (ratio_NM - 1) * np.maximum(times_N1, times_ML[:, column])
            nearest = np.minimum(np.minimum(before[column], before[column + 1]), row[column])
            row.append(cost_NM + nearest)
            ends_NM = (length_N[:, None] == place + 1) & (length_M == column + 1)
            found_NM[ends_NM] = row[-1][ends_NM]
        before = row
    return found_NM


def position(adjacency: csr_matrix, seed: int) -> NDArray[np.float32]:
    """1 / (1 + hops) [N, S] to anchors drawn by keyed hash, 0 where there is no way."""
    hash_N = keyed_hash(seed, np.arange(adjacency.shape[0]))
    anchor_S = np.argsort(hash_N)[:ANCHORS]
    hops_SN = dijkstra(adjacency, unweighted=True, indices=anchor_S)
    return (1 / (1 + hops_SN.T)).astype(np.float32)


def similarity(adjacency: csr_matrix, features_NF: csr_matrix) -> NDArray[np.float32]:
    """Shares [N, B] of a node's neighbours by the cosine of their features with its own, in equal bins of [0, 1]."""
    norm_N = np.sqrt(np.asarray(features_NF.multiply(features_NF).sum(axis=1)).ravel())
    unit_NF = features_NF.multiply(1 / np.where(norm_N > 0, norm_N, 1)[:, None]).tocsr()
    target_E, source_E = adjacency.nonzero()
    parts = [np.empty(0)]
    for edges in _blocks(len(target_E)):
        parts.append(np.asarray(unit_NF[target_E[edges]].multiply(unit_NF[source_E[edges]]).sum(axis=1)).ravel())
    bin_E = np.clip((np.concatenate(parts) * BINS).astype(np.int64), 0, BINS - 1)
    counts_NB = np.bincount(target_E * BINS + bin_E, minlength=adjacency.shape[0] * BINS).reshape(-1, BINS)
    return (counts_NB / np.maximum(np.diff(adjacency.indptr), 1)[:, None]).astype(np.float32)


def _blocks(count: int, size: int = 1 << 15) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
