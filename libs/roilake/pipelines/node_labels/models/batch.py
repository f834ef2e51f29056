"""What a node model sees, and the sizes that it is built for.

Legend of shape suffixes: N nodes, E directed edges, F features, M landmarks, S anchors, B bins of similarity, C
classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class NodeGraph:
    """A whole graph. Its edges go both ways, without loops and without doubles, in order of (target, source).

    The last three are what ``build_node_distribution`` knows of a node's surroundings: how like its degree sequences
    are to those of the landmarks, in (0, 1]; how near it is to the anchors, 1 / (1 + hops), 0 for one that it cannot
    reach; and the shares of its neighbours by how like their features are to its own. None of them knows a label."""

    features_NF: Tensor  # float32, sparse CSR
    edge_2E: Tensor  # int64: source, target
    topology_NM: Tensor  # float32
    position_NS: Tensor  # float32
    similarity_NB: Tensor  # float32; zeros for a node without neighbours

    @property
    def nodes(self) -> int:
        """N."""
        return self.features_NF.shape[0]


@dataclass(frozen=True)
class GraphShape:
    """F, M, S, B and C."""

    features: int
    landmarks: int
    anchors: int
    bins: int
    classes: int

    @classmethod
    def of(cls, graph: NodeGraph, classes: int) -> GraphShape:
        """The sizes of a graph."""
        parts = (graph.features_NF, graph.topology_NM, graph.position_NS, graph.similarity_NB)
        return cls(*(part.shape[1] for part in parts), classes)
