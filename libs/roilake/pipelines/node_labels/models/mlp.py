"""MLP: a node's own features alone (a baseline that sees no edge)."""

from __future__ import annotations

from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import NetOptions, SparseLinear
from roilake.training.dropout import Dropout

Options = NetOptions


class Model(nn.Module):
    """h_1 = W x + b, h_{l+1} = W_l dropout(ReLU(h_l)) + b_l; the last one is the logits.

    Shapes: x [N, F], logits [N, C]."""

    def __init__(self, options: NetOptions, shape: GraphShape) -> None:
        super().__init__()
        (features, width), *rest = options.sizes(shape)
        self.first = SparseLinear(features, width, options.dropout, bias=True)
        each = [(nn.ReLU(), Dropout(options.dropout), nn.Linear(*size)) for size in rest]
        self.rest = nn.Sequential(*(layer for layers in each for layer in layers))

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        logits: Tensor = self.rest(self.first(graph))
        return logits
