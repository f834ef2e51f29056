"""Gates of MWGNN-R on the neighbours of a region of interest: an aggregator that GraphSAGE and ZOOMER may have.

Legend: B rows, P positions, k neighbours, D = ``dim``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.graph_tower import GraphOptions
from roilake.pipelines.retrieval.models.tree import Children


class MetaOptions(GraphOptions):
    """``meta_weights``: neighbours count as their gates say (see ``MetaGate``)."""

    meta_weights: bool = False


class MetaGate(nn.Module):
    """g_pj = 2 sigmoid(<u, h_p> + <w, h_j> + <c, x_pj>) of each neighbour j below p [B, P, k].

    Every node sets by its own surroundings how much it takes from its neighbours, and they how much they give. Of the
    local distribution of MWGNN's meta-weights (arXiv 2203.10280), whose equations are not public, this has topology and
    features by the vectors h, which hold degree, interest and terms, and position by x, what selected the neighbour
    (see ``EdgeAttention``): a reconstruction, and smaller than that of pipeline ``node_labels``. u, w and c start at 0:
    the untrained gate is 1.

    Shapes: parent [B, P, D], signals S x [B, P, k] -> g [B, P, k]."""

    def __init__(self, dim: int, signals: int) -> None:
        super().__init__()
        self.parent, self.child = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.signal = nn.Parameter(torch.zeros(signals))

    def forward(self, parent_BPD: Tensor, children: Children) -> Tensor:
        given_BPk = (children.vectors_BPkD() * self.child).sum(dim=-1)
        taken_BP1 = (parent_BPD[..., : len(self.parent)] * self.parent).sum(dim=-1, keepdim=True)
        selected_BPk = torch.stack(children.signals, dim=3) @ self.signal
        return 2 * torch.sigmoid(given_BPk + taken_BP1 + selected_BPk)
