"""How often neighbours have the same label. Labels of all splits count: this is for readers, not for models.

Legend of shape suffixes: N nodes, E edges, each both ways, R rows of some nodes, C labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from roilake.pipelines.node_labels.distribution.rows import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_BLOCK = 4_000_000
"""Edges that are held at a time."""


def own_homophily(edge_2E: ArrayLike, label_N: Ints) -> Floats:
    """The share of each node's labelled neighbours that have its own label [N], of edges (source, target); NaN for a
    node without a label (-1) or without a labelled neighbour."""
    source_E, target_E = np.asarray(edge_2E)
    known_E = (label_N[source_E] >= 0) & (label_N[target_E] >= 0)
    source_E, target_E = source_E[known_E], target_E[known_E]
    same_E = label_N[source_E] == label_N[target_E]
    alike_N, all_N = (np.bincount(each, minlength=len(label_N)) for each in (target_E[same_E], target_E))
    return _share(alike_N, all_N)


def homophily(graph: Rows, label_N: Ints) -> Floats:
    """``own_homophily``; of a node without a labelled neighbour, as a user whose neighbours are all items, that of the
    labelled nodes two steps away, a node as often as there are ways to it."""
    rows = np.flatnonzero(label_N >= 0)
    one_NC = sp.csr_matrix((np.ones(len(rows)), (rows, label_N[rows])), (graph.nodes, label_N.max(initial=0) + 1))
    near_NC = sp.vstack([beside @ one_NC for beside in _blocks(graph)], "csr")
    share_N = _share(*_counts(near_NC, one_NC))
    if (alone_N := np.isnan(share_N) & (label_N >= 0)).any():
        far_NC = sp.vstack([beside @ near_NC for beside in _blocks(graph)], "csr")
        far_NC -= sp.diags(np.diff(graph.offsets_N1).astype(float)) @ one_NC  # not by the way back to itself
        share_N[alone_N] = _share(*_counts(far_NC[alone_N], one_NC[alone_N]))
    return share_N


def _counts(found_RC: Any, one_RC: Any) -> tuple[Floats, Floats]:
    """Of the labels found around each node those that are its own, and all; none of a node without one."""
    own_R, alike_R, all_R = (np.asarray(each.sum(1)).ravel() for each in (one_RC, found_RC.multiply(one_RC), found_RC))
    return alike_R, np.where(own_R > 0, all_R, 0)


def _share(alike_N: NDArray, all_N: NDArray) -> Floats:
    return np.where(all_N > 0, alike_N / np.maximum(all_N, 1), np.nan)


def _blocks(graph: Rows) -> Iterator[Any]:
    """The adjacency matrix, some rows at a time."""
    start, offsets_N1 = 0, graph.offsets_N1
    while start < graph.nodes:
        last = int(np.searchsorted(offsets_N1, offsets_N1[start] + _BLOCK, side="right")) - 1
        end = min(max(last, start + 1), graph.nodes)
        ids = graph.ids_E[offsets_N1[start] : offsets_N1[end]]
        block = np.ones(len(ids)), ids, offsets_N1[start : end + 1] - offsets_N1[start]
        yield sp.csr_matrix(block, (end - start, graph.nodes))
        start = end
