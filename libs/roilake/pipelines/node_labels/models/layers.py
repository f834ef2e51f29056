"""What several node models are made of: maps of sparse features, PyTorch Geometric's convolutions on patterns, and a
network of residual blocks.

Legend of shape suffixes: N nodes, E edges, F features, D outputs of a layer, K heads, C classes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as geometric
from pydantic import Field
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.sparse import Pattern
from roilake.training.dropout import Dropout
from roilake.training.models import Options

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class NetOptions(Options):
    """Options of every node model: width of its layers, their number, and dropout of what goes into each of them."""

    hidden: Positive = 64
    layers: Positive = 2
    dropout: Share = 0.5

    def sizes(self, shape: GraphShape) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer, from features to classes."""
        widths = [shape.features, *[self.hidden] * (self.layers - 1), shape.classes]
        return list(pairwise(widths))


class SparseLinear(nn.Module):
    """y_i = W dropout(x_i) + b of sparse features x [N, F]: only the stored values are dropped and multiplied. Glorot's
    initial weights (Kipf and Welling 2017 have them too); a node without features has y = b."""

    def __init__(self, features: int, outputs: int, dropout: float, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(features, outputs)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.dropout = Dropout(dropout)

    def forward(self, graph: NodeGraph) -> Tensor:
        """[N, D]."""
        value_E = self.dropout(graph.features_NF.values())
        mapped_ND = graph.features.product(value_E, self.weight)
        return mapped_ND if self.bias is None else mapped_ND + self.bias


class PatternGCNConv(geometric.GCNConv):
    """y_i = sum_j a_ij W x_j + b, a_ij = (d_i d_j)^-1/2: torch_geometric's layer, whose sum over edges is a product
    with a ``Pattern``: A + I for GCN. ``first`` takes in the graph's features."""

    def __init__(self, inputs: int, outputs: int, first: SparseLinear | None = None) -> None:
        super().__init__(inputs, outputs, normalize=False)
        self.lin: nn.Module = first or self.lin

    def propagate(self, edge_index: Pattern, size: Any = None, **arguments: Any) -> Tensor:  # type: ignore[override]
        return edge_index.product(edge_index.symmetric_E, arguments["x"])


class PatternSAGEConv(geometric.SAGEConv):
    """y_i = W x_i + W' mean_{j in N(i)} x_j + b: torch_geometric's layer, with the sum as a product."""

    def propagate(self, edge_index: Pattern, size: Any = None, **arguments: Any) -> Tensor:  # type: ignore[override]
        return edge_index.product(edge_index.mean_E, arguments["x"][0])


class PatternGATConv(geometric.GATConv):
    """y_i = ||_k sum_j a_ij^k (W x_j)^k + b, a^k = softmax over j of LeakyReLU(<b^k, (W x_i)^k> + <c^k, (W x_j)^k>), k
    the head: torch_geometric's layer, with the sum as products. ``first`` takes in the graph's features."""

    def __init__(
        self, inputs: int, outputs: int, heads: int, dropout: float, first: SparseLinear | None = None
    ) -> None:
        super().__init__(inputs, outputs, heads, dropout=dropout, add_self_loops=False)
        self.map: nn.Module = first or self.lin
        self.lin: nn.Module = nn.Identity()
        self._pattern: Pattern | None = None

    def forward(self, x: Any, edge_index: Pattern) -> Tensor:  # type: ignore[override]
        self._pattern = edge_index
        found: Tensor = super().forward(self.map(x), torch.stack([edge_index.column_E, edge_index.row_E]))
        return found

    def propagate(self, edge_index: Tensor, size: Any = None, **arguments: Any) -> Tensor:  # type: ignore[override]
        assert self._pattern is not None
        x_NKD, alpha_EK = arguments["x"][0], arguments["alpha"]
        heads = zip(alpha_EK.unbind(1), x_NKD.unbind(1), strict=True)
        return torch.stack([self._pattern.product(alpha_E, x_ND) for alpha_E, x_ND in heads], dim=1)


class Stack(nn.Module):
    """h_0 = x, h_{l+1} = dropout(act(layer_l(h_l))), logits = the last layer's output, without act; the first layer
    drops the features itself."""

    def __init__(self, layers: Iterable[nn.Module], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = Dropout(dropout)

    def forward(self, graph: NodeGraph, pattern: Pattern, activation: Any = F.relu) -> Tensor:
        """Logits [N, C]."""
        hidden: Any = graph
        for number, layer in enumerate(self.layers):
            hidden = self.dropout(activation(hidden)) if number else hidden
            hidden = layer(hidden, pattern)
        return hidden


class Embedding(nn.Sequential):
    """GELU(dropout(W x + b)) of the graph's features [N, D]."""

    def __init__(self, options: NetOptions, shape: GraphShape) -> None:
        first = SparseLinear(shape.features, options.hidden, 0.0, bias=True)
        super().__init__(first, Dropout(options.dropout), nn.GELU())


class FeedForward(nn.Sequential):
    """dropout(W' GELU(dropout(W x + b)) + b')."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        layers = nn.Linear(inputs, outputs), Dropout(dropout), nn.GELU(), nn.Linear(outputs, outputs)
        super().__init__(*layers, Dropout(dropout))


class ResidualNet(nn.Module):
    """h_0 = GELU(dropout(W x + b)),  h_{l+1} = h_l + FFN([n_l || conv_l(n_l)]),  n_l = LayerNorm(h_l),
    logits = W' LayerNorm(h_L) + b'

    A node's own embedding and its neighbours' stay apart, so that neighbours of another class do not wash it out.
    Source: Platonov et al. 2023 (arXiv 2302.11640), in the form of their public code, as remembered.

    Shapes: h [N, D], logits [N, C]."""

    def __init__(self, options: NetOptions, shape: GraphShape, convolutions: Iterable[nn.Module]) -> None:
        super().__init__()
        width, rate = options.hidden, options.dropout
        self.first = Embedding(options, shape)
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(options.layers + 1))
        self.mixes = nn.ModuleList(FeedForward(2 * width, width, rate) for _ in range(options.layers))
        self.head = nn.Linear(width, shape.classes)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        hidden_ND = self.first(graph)
        *norms, last = self.norms
        for norm, convolution, mix in zip(norms, self.convolutions, self.mixes, strict=True):
            own_ND = norm(hidden_ND)
            hidden_ND = hidden_ND + mix(torch.cat([own_ND, convolution(own_ND, graph.neighbours)], dim=1))
        return self.head(last(hidden_ND))
