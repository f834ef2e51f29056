"""GCN with skip connections, layer norm, and ego and neighbour embeddings apart (a baseline that is hard to beat)."""

from __future__ import annotations

from roilake.pipelines.node_labels.models.batch import GraphShape
from roilake.pipelines.node_labels.models.layers import NetOptions, PatternGCNConv, ResidualNet

Options = NetOptions


class Model(ResidualNet):
    """``ResidualNet`` with conv(h)_i = sum_{j in N(i)} (d_i d_j)^-1/2 W h_j + b, by torch_geometric's GCNConv."""

    def __init__(self, options: NetOptions, shape: GraphShape) -> None:
        width = options.hidden
        super().__init__(options, shape, [PatternGCNConv(width, width) for _ in range(options.layers)])
