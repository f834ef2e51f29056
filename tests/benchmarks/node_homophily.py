"""How often neighbours have the same label.

Legend of shape suffixes: N nodes, E directed edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from roilake.pipelines.node_labels.graph.homophily import own_homophily

__all__ = ["BUCKETS", "bucket_of", "homophily", "own_homophily"]

BUCKETS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Least homophily of each bucket of nodes; the last one has 1 too."""
Floats = NDArray[np.float64]


def homophily(edge_2E: Tensor, label_N: NDArray[np.int64]) -> dict[str, float]:
    """``edge``: share h of edges between equal labels; ``node``: mean of the nodes' own; ``adjusted``: (h - r) /
    (1 - r), r = sum_k (D_k / 2 E)^2, D_k the degrees of class k together (Platonov et al. 2023, arXiv 2209.06177)."""
    source_E, target_E = _labelled(edge_2E, label_N)
    edge = float((label_N[source_E] == label_N[target_E]).mean())
    share_C = np.bincount(label_N[target_E]) / len(target_E)
    by_chance = float((share_C**2).sum())
    node = float(np.nanmean(own_homophily(edge_2E, label_N)))
    return {"edge": edge, "node": node, "adjusted": (edge - by_chance) / (1 - by_chance)}


def bucket_of(homophily_N: Floats) -> NDArray[np.int64]:
    """Number of the bucket [N]; -1 where there is none."""
    found_N = np.searchsorted(BUCKETS, np.nan_to_num(homophily_N), side="right") - 1
    return np.where(np.isnan(homophily_N), -1, found_N)


def _labelled(edge_2E: Tensor, label_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    source_E, target_E = edge_2E.numpy()
    known_E = (label_N[source_E] >= 0) & (label_N[target_E] >= 0)
    return source_E[known_E], target_E[known_E]
