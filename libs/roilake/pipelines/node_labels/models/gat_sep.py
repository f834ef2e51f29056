"""GAT with skip connections, layer norm, and ego and neighbour embeddings apart (a baseline that is hard to beat)."""

from __future__ import annotations

from roilake.pipelines.node_labels.models.batch import GraphShape
from roilake.pipelines.node_labels.models.gat import Options
from roilake.pipelines.node_labels.models.layers import PatternGATConv, ResidualNet

__all__ = ["Model", "Options"]


class Model(ResidualNet):
    """``ResidualNet`` with GATConv over the neighbours, the node itself left out, by torch_geometric's GATConv."""

    def __init__(self, options: Options, shape: GraphShape) -> None:
        width, heads = options.hidden, options.heads
        sizes = width, width // heads, heads
        super().__init__(options, shape, [PatternGATConv(*sizes, dropout=0.0) for _ in range(options.layers)])
