"""H2GCN: a node, its neighbours and its second neighbours, never mixed before the last layer (a baseline for
heterophilous graphs)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, SparseLinear
from roilake.training.dropout import Dropout


class Options(NetOptions):
    """``layers`` is the number K of rounds."""


class Model(nn.Module):
    """r_0 = ReLU(W x),  r_{k+1} = [A_1 r_k || A_2 r_k],  logits = W' dropout([r_0 || ... || r_K]) + b

    A_1 and A_2 join nodes one hop and exactly two hops apart, without loops, each as D^-1/2 A D^-1/2. A_2 is laid out,
    which a graph with large hubs has no memory for. Source: Zhu et al., "Beyond homophily in graph neural networks"
    (2020); torch_geometric has no such layer.

    Shapes: x [N, F], r_k [N, 2^k D], logits [N, C]."""

    def __init__(self, options: Options, shape: GraphShape) -> None:
        super().__init__()
        self.first = SparseLinear(shape.features, options.hidden, options.dropout)
        self.head = nn.Linear((2 ** (options.layers + 1) - 1) * options.hidden, shape.classes)
        self.rounds, self.dropout = options.layers, Dropout(options.dropout)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        patterns = graph.neighbours, graph.second_neighbours
        rounds = [F.relu(self.first(graph))]
        for _ in range(self.rounds):
            parts = [pattern.product(pattern.symmetric_E, rounds[-1]) for pattern in patterns]
            rounds.append(torch.cat(parts, dim=1))
        return self.head(self.dropout(torch.cat(rounds, dim=1)))
