"""GraphSAGE with mean aggregation (a baseline)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, PatternSAGEConv, SparseLinear
from roilake.training.dropout import Dropout

Options = NetOptions


class Model(nn.Module):
    """h_0 = W x + b,  h_{l+1} = W_l dropout(ReLU(h_l))_i + W'_l mean_{j in N(i)} dropout(ReLU(h_l))_j + b_l

    Source: Hamilton, Ying, Leskovec, "Inductive representation learning on large graphs" (2017), on all neighbours, by
    torch_geometric's SAGEConv; the map W of the sparse features before it is ours.

    Shapes: x [N, F], h [N, D], logits [N, C]."""

    def __init__(self, options: NetOptions, shape: GraphShape) -> None:
        super().__init__()
        self.first = SparseLinear(shape.features, options.hidden, options.dropout, bias=True)
        widths = [*[options.hidden] * options.layers, shape.classes]
        self.convolutions = nn.ModuleList(PatternSAGEConv(*size) for size in pairwise(widths))
        self.dropout = Dropout(options.dropout)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        hidden_ND: Tensor = self.first(graph)
        for convolution in self.convolutions:
            hidden_ND = self.dropout(F.relu(hidden_ND))
            hidden_ND = convolution(hidden_ND, graph.neighbours)
        return hidden_ND
