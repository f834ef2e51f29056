"""Trees of neighbours below some nodes, each drawn for itself: what is around a node depends on no other root of the
batch, so any batch, rank and retry sees the same.

Legend of shape suffixes: B roots, n nodes of all trees together, e edges, F nodes whose neighbours are drawn, M those
of them that have too many, K neighbours that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.pipelines.node_labels.distribution.rows import Rows

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Forest:
    """A tree with its cross-links for each root: its nodes are distinct, and each edge goes both ways. ``node_n`` are
    their numbers in the graph; roots and edges (source, target; by target, then source) are places among them."""

    node_n: Ints
    root_B: Ints
    edge_2e: Ints


def sample_forest(graph: Rows, root_B: Ints, fan_out: Sequence[int], *key: int) -> Forest:
    """From each root hop by hop: of each node that is reached for the first time up to ``fan_out[hop]`` neighbours,
    drawn by a hash of the key, the root and the node. What is drawn of a node whose neighbours are not too many is all
    of them."""
    nodes = graph.nodes
    frontier = known = np.arange(len(root_B)) * nodes + root_B  # number of the tree, and of the node
    ends = [np.empty((2, 0), np.int64)]
    for most in fan_out:
        tree_F, node_F = np.divmod(frontier, nodes)
        owner_e, neighbour_e = _drawn(graph, node_F, most, keyed_hash(*key, root_B[tree_F], node_F))
        child_e = tree_F[owner_e] * nodes + neighbour_e
        ends.append(np.stack([frontier[owner_e], child_e]))
        frontier = np.setdiff1d(child_e, known)
        known = np.union1d(known, frontier)
    parent_e, child_e = np.searchsorted(known, np.concatenate(ends, axis=1))
    pair_e = np.unique(np.concatenate([parent_e * len(known) + child_e, child_e * len(known) + parent_e]))
    target_e, source_e = np.divmod(pair_e, max(1, len(known)))
    roots = np.searchsorted(known, np.arange(len(root_B)) * nodes + root_B)
    return Forest(known % nodes, roots, np.stack([source_e, target_e]))


def _drawn(graph: Rows, node_F: Ints, most: int, key_F: NDArray[np.uint64]) -> tuple[Ints, NDArray[np.int32]]:
    """Place among the nodes, and neighbour, of up to ``most`` of each node's."""
    start_F = np.asarray(graph.offsets_N1[node_F])
    count_F = graph.offsets_N1[node_F + 1] - start_F
    taken_F = np.minimum(count_F, most)
    owner_e = np.repeat(np.arange(len(node_F)), taken_F)
    place_e = np.arange(len(owner_e)) - np.repeat(np.cumsum(taken_F) - taken_F, taken_F)
    many_F = count_F > most
    if many_F.any():
        place_e[many_F[owner_e]] = _places(count_F[many_F], most, key_F[many_F]).ravel()
    return owner_e, graph.ids_E[start_F[owner_e] + place_e]


def _places(count_M: Ints, most: int, key_M: NDArray[np.uint64]) -> Ints:
    """``most`` distinct numbers below each count [M, K], every set as likely as any other, in time that does not grow
    with the count (R. W. Floyd's algorithm, in Bentley, "Programming pearls", CACM 1987)."""
    place_MK = np.empty((len(count_M), most), np.int64)
    for number in range(most):
        last_M = count_M - most + number
        drawn_M = (keyed_hash(key_M.view(np.int64), number) % (last_M + 1).astype(np.uint64)).astype(np.int64)
        again_M = (place_MK[:, :number] == drawn_M[:, None]).any(axis=1)
        place_MK[:, number] = np.where(again_M, last_M, drawn_M)
    return place_MK
