"""What training on a whole graph takes, estimated before the graph is read.

Legend of shape suffixes as in ``node_labels.models.batch``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from roilake import memory
from roilake.config.base import ModelConfig
from roilake.errors import ConfigError
from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.config import NodeLabelsConfig, NodeTrainingConfig
from roilake.pipelines.node_labels.distribution.surroundings import COSINES
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.batch import PAIR_BYTES
from roilake.pipelines.node_labels.training.inputs import feature_rows
from roilake.runtime.step import Recorder

_EDGE, _VALUE, _DENSE = 150, 60, 12
"""Bytes of a graph in training: an edge with the patterns that it is in, a feature of a node, and a number of its
distribution, which is copied as it is read."""
_GRADIENTS = 2.2
"""What a step holds at most, over what it keeps for its gradients."""
_PROBE = 256


@dataclass(frozen=True)
class GraphSize:
    """Nodes, edges (both ways), features, what all nodes have of these, numbers of a node's distribution by source,
    and the sum of all squared degrees."""

    nodes: int
    edges: int
    features: int
    values: int
    landmarks: int
    anchors: int
    squares: int

    @classmethod
    def of(cls, record: Recorder, config: NodeLabelsConfig) -> GraphSize:
        """By what the night's tables count."""
        degree_N = record.rows("node_distributions", columns=["degree"])["degree"].to_numpy().astype(np.int64)
        had_F = record.rows("graph_features", columns=["nodes"])["nodes"].to_numpy()
        rules, squares = config.distribution, int((degree_N**2).sum())
        sizes = len(degree_N), int(degree_N.sum()), len(had_F), int(had_F.sum())
        return cls(*sizes, rules.landmarks, rules.anchors, squares)

    @property
    def graph_bytes(self) -> int:
        """Of the graph alone."""
        dense = self.nodes * (self.landmarks + self.anchors + COSINES)
        return _EDGE * self.edges + _VALUE * self.values + _DENSE * dense

    def training_bytes(self, model: ModelConfig, classes: int) -> int:
        """Of a rank that trains this model on the whole graph: what autograd keeps of a small graph of the same means,
        scaled up; the weights, their gradients and Adam's two moments; and the graph."""
        probe = self._probe()
        built = models.build(model.kind, dict(model.options), GraphShape.of(probe, classes)).train()
        weights = {weight.untyped_storage().data_ptr(): weight.nbytes for weight in built.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage() if tensor.layout == torch.strided else None
            if storage is not None and storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = built(probe)
        del logits
        pairs = min(self.squares, self.nodes**2) if "second_neighbours" in vars(probe) else 0
        steps = _GRADIENTS * sum(kept.values()) * self.nodes / probe.nodes
        return self.graph_bytes + int(steps) + 4 * sum(weights.values()) + PAIR_BYTES * pairs

    def _probe(self) -> NodeGraph:
        """A ring of as many edges and features a node, each linked to those that are next to it."""
        nodes = min(max(_PROBE, 2 * self.edges // max(1, self.nodes)), self.nodes)
        pairs, own = (round(count * nodes / max(1, self.nodes)) for count in (self.edges // 2, self.values))
        number = torch.arange(pairs)
        first, second = number % nodes, (number + number // nodes + 1) % nodes
        edge_2E = torch.stack([torch.cat([first, second]), torch.cat([second, first])])
        edge_2E = edge_2E[:, (edge_2E[1] * nodes + edge_2E[0]).argsort()]
        start_N1 = torch.linspace(0, own, nodes + 1).long()
        features_NF = feature_rows(start_N1, torch.arange(own) % max(1, self.features), self.features)
        dense = (torch.zeros(nodes, width) for width in (self.landmarks, self.anchors, COSINES))
        return NodeGraph(features_NF, edge_2E, *dense)


def fits(size: GraphSize, config: NodeLabelsConfig, classes: int) -> bool:
    """Whether every model is trained on the whole graph, as the config says or memory lets it. Raises ConfigError where
    the one forbids what the other asks for."""
    training = config.training
    if training.trees.use == "always":
        return False
    need = {name: size.training_bytes(model, classes) for name, model in config.models.items()}
    most, bound = max(need, key=need.__getitem__), bound_of(training)
    if need[most] <= bound:
        return True
    if training.trees.use == "never":
        raise ConfigError(
            f"training: {most} on the whole graph ({size.nodes:,} nodes, {size.edges // 2:,} edges) takes about "
            f"{need[most] / 1e9:,.1f} GB in each of {training.workers} workers, more than {bound / 1e9:,.1f}: say "
            "training.trees.use: auto, leave the model out, or raise training.memory_gb"
        )
    return False


def bound_of(training: NodeTrainingConfig) -> float:
    """Bytes that a rank may take."""
    return training.memory_gb * 1e9 if training.memory_gb else memory.installed() / 2 / training.workers
