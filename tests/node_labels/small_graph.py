"""A small graph of two kinds of node, with all that makes graphs awkward."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from roilake.pipelines.node_labels.models import NodeGraph

NODES, FEATURES, LANDMARKS, ANCHORS, BINS, CLASSES = 40, 12, 5, 6, 8, 3
ISOLATED, FEATURELESS = 7, 11


def small_graph(seed: int = 0, nodes: int = NODES, edges: int = 90) -> NodeGraph:
    """Node 7 has no neighbour, node 11 no feature; two components at least."""
    draw = np.random.default_rng(seed)
    ends = draw.integers(0, nodes, (edges, 2))
    ends = ends[(ends[:, 0] != ends[:, 1]) & ~(ends == ISOLATED).any(axis=1)]
    both = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0)  # (target, source)
    features_NF = (draw.random((nodes, FEATURES)) < 0.3) * draw.random((nodes, FEATURES))
    features_NF[FEATURELESS] = 0
    return NodeGraph(
        torch.from_numpy(features_NF).float().to_sparse_csr(),
        torch.from_numpy(both[:, ::-1].T.copy()),
        torch.from_numpy(draw.random((nodes, LANDMARKS))).float(),
        torch.from_numpy(draw.random((nodes, ANCHORS))).float(),
        torch.from_numpy(draw.random((nodes, BINS))).float(),
    )


def permuted(graph: NodeGraph, order_N: Tensor) -> NodeGraph:
    """The graph whose node i was node order[i]."""
    number_N = order_N.argsort()
    edge_2E = number_N[graph.edge_2E]
    edge_2E = edge_2E[:, (edge_2E[1] * graph.nodes + edge_2E[0]).argsort()]
    features_NF = graph.features_NF.to_dense()[order_N].to_sparse_csr()
    rest = graph.topology_NM, graph.position_NS, graph.similarity_NB
    return NodeGraph(features_NF, edge_2E, *(part[order_N] for part in rest))
