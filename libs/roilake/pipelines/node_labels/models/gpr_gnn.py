"""GPR-GNN: a learnt polynomial of the adjacency matrix over an MLP's logits (a baseline for either kind of graph)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roilake.pipelines.node_labels.models import mlp
from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, Positive, Share
from roilake.training.dropout import Dropout


class Options(NetOptions):
    """``hops`` is K; ``restart`` is the a of the initial weights."""

    hops: Positive = 10
    restart: Share = 0.1


class Model(nn.Module):
    """logits = sum_{k=0..K} g_k P^k dropout(MLP(x)),  P = D^-1/2 (A + I) D^-1/2

    g is learnt and may be negative: high-pass filters fit heterophilous graphs. g_k = a (1 - a)^k at the start, and
    (1 - a)^K for k = K, as in personalised PageRank. Source: Chien et al., "Adaptive universal generalized PageRank
    graph neural network" (2021); torch_geometric has no such layer.

    Shapes: x [N, F], logits [N, C], g [K + 1]."""

    def __init__(self, options: Options, shape: GraphShape) -> None:
        super().__init__()
        self.mlp = mlp.Model(options, shape)
        power_K = (1 - options.restart) ** torch.arange(options.hops + 1)
        self.weight_K = nn.Parameter(torch.cat([options.restart * power_K[:-1], power_K[-1:]]))
        self.dropout = Dropout(options.dropout)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        pattern = graph.looped
        power_NC = self.dropout(self.mlp(graph))
        first, *weights = self.weight_K.unbind()
        logits_NC = first * power_NC
        for weight in weights:
            power_NC = pattern.product(pattern.symmetric_E, power_NC)
            logits_NC = logits_NC + weight * power_NC
        return logits_NC
