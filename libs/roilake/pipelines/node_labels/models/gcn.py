"""GCN (a baseline)."""

from __future__ import annotations

from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, PatternGCNConv, SparseLinear, Stack

Options = NetOptions


class Model(nn.Module):
    """h_{l+1} = ReLU(D^-1/2 (A + I) D^-1/2 dropout(h_l) W_l + b_l), without ReLU at the last layer

    Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks" (2017), by
    torch_geometric's GCNConv.

    Shapes: h_0 = x [N, F], A [N, N], logits [N, C]."""

    def __init__(self, options: NetOptions, shape: GraphShape) -> None:
        super().__init__()
        first, *rest = options.sizes(shape)
        convolutions = [
            PatternGCNConv(*first, SparseLinear(*first, options.dropout)),
            *(PatternGCNConv(*size) for size in rest),
        ]
        self.stack = Stack(convolutions, options.dropout)

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        return self.stack(graph, graph.looped)
