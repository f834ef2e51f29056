"""What a node model sees, and the sizes that it is built for.

Legend of shape suffixes: N nodes, E directed edges, F features, M landmarks, S anchors, B bins of similarity, C
classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from roilake import memory
from roilake.errors import ConfigError
from roilake.pipelines.node_labels.models.sparse import Pattern
from roilake.training.context import to_device

PAIR_BYTES = 100
"""Of two nodes two hops apart: what ``NodeGraph.second_neighbours`` takes at most while it is made."""


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

    def on(self, device: torch.device) -> NodeGraph:
        """The graph on a device; moved there once."""
        if device not in self._copies:
            self._copies[device] = to_device(self, device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, NodeGraph]:
        return {self.features_NF.device: self}

    @cached_property
    def features(self) -> Pattern:
        """Where a node has which feature."""
        return Pattern(self.features_NF.crow_indices(), self.features_NF.col_indices(), self.features_NF.shape[1])

    @cached_property
    def neighbours(self) -> Pattern:
        """A: row i has the neighbours of node i."""
        source_E, target_E = self.edge_2E
        return Pattern.of(target_E, source_E, self.nodes, self.nodes)

    @cached_property
    def looped(self) -> Pattern:
        """A + I: row i has node i too."""
        loop_N = torch.arange(self.nodes, device=self.edge_2E.device)
        source_E, target_E = torch.cat([self.edge_2E, loop_N.expand(2, -1)], dim=1)
        order_E = (target_E * self.nodes + source_E).argsort()
        return Pattern.of(target_E[order_E], source_E[order_E], self.nodes, self.nodes)

    @cached_property
    def second_neighbours(self) -> Pattern:
        """Row i has the nodes that are two hops from node i and no nearer. Raises ConfigError for a graph whose hubs
        make more of them than memory holds."""
        degree_N = self.neighbours.start_R1.diff().double()
        need = PAIR_BYTES * min(float(degree_N.square().sum()), float(self.nodes) ** 2)
        if need > memory.installed() / 2:
            raise ConfigError(
                f"models: h2gcn would lay out up to {need / PAIR_BYTES:,.0f} pairs of nodes two hops apart, about "
                f"{need / 1e9:,.1f} GB of the machine's {memory.installed() / 1e9:,.1f}; leave it out"
            )
        near = self.looped.matrix(torch.ones_like(self.looped.symmetric_E)).cpu()
        walks = (near @ near).to_sparse_coo().coalesce()
        far_2E = walks.indices()
        key_E, near_E = (pairs[0] * self.nodes + pairs[1] for pairs in (far_2E, near.to_sparse_coo().indices()))
        row_E, column_E = far_2E[:, ~torch.isin(key_E, near_E)].to(self.edge_2E.device)
        return Pattern.of(row_E, column_E, self.nodes, self.nodes)


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
        features, landmarks = graph.features_NF.shape[1], graph.topology_NM.shape[1]
        return cls(features, landmarks, graph.position_NS.shape[1], graph.similarity_NB.shape[1], classes)
