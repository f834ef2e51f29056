"""GAT (a baseline)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, PatternGATConv, Positive, SparseLinear, Stack


class Options(NetOptions):
    """``hidden`` is the width of all heads together and must be a multiple of ``heads``."""

    heads: Positive = 8

    @model_validator(mode="after")
    def _heads_fit(self) -> Options:
        if self.hidden % self.heads:
            raise ValueError("hidden must be a multiple of heads")
        return self


class Model(nn.Module):
    """h_{l+1} = ELU(||_k sum_{j in N(i) + i} a_ij^k W_l^k dropout(h_j)); the last layer has one head and no ELU

    a is ``GATConv``'s, with dropout. Source: Velickovic et al., "Graph attention networks" (2018), by torch_geometric's
    GATConv.

    Shapes: h_0 = x [N, F], logits [N, C]."""

    def __init__(self, options: Options, shape: GraphShape) -> None:
        super().__init__()
        sizes, rate = options.sizes(shape), options.dropout
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(sizes):
            heads = options.heads if number < len(sizes) - 1 else 1
            first = None if number else SparseLinear(inputs, outputs, rate)
            layers.append(PatternGATConv(inputs, outputs // heads, heads, rate, first))
        self.stack = Stack(layers, rate)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        return self.stack(graph, graph.looped, F.elu)
