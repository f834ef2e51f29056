"""Graph attention (GAT), one attention per hop and edge type (a baseline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema
from roilake.pipelines.retrieval.models.graph_tower import GraphOptions, GraphTower
from roilake.pipelines.retrieval.models.graphsage import map_name, neighbour_maps
from roilake.pipelines.retrieval.models.tree import Children
from roilake.pipelines.retrieval.roi.layout import RoiLayout

NEGATIVE_SLOPE = 0.2
NEVER = -1e9


class Options(GraphOptions):
    """``heads`` must divide ``dim``."""

    heads: int = 4


class Model(GraphTower):
    r"""h_p' = h_p + sum over edge types e of ||_m sum_j a_pj^m (W_{hop,e} h_j)^m, heads m

    a_pj^m = softmax over j of LeakyReLU(<b^m, h_p^m> + <c^m, (W h_j)^m>), slope 0.2

    b and c start at 0, so the untrained model is GraphSAGE's mean. Source: Velickovic et al., "Graph attention
    networks" (2018), with residual in place of the self-loop.

    Shapes: h [B, P, D], children [B, P, k, D], a [B, P, k, heads].
    """

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.heads = options.heads
        self.maps = neighbour_maps(self)
        slots = (slot for layout in layouts for slot in layout.slots)
        shapes = {map_name(slot): (options.heads, self.width(slot.hop) // options.heads) for slot in slots}
        self.parent_score = nn.ParameterDict({name: torch.zeros(shape) for name, shape in shapes.items()})
        self.child_score = nn.ParameterDict({name: torch.zeros(shape) for name, shape in shapes.items()})

    def combine(self, parent_BPD: Tensor, children: Sequence[Children], hop: int, focal_BD: Tensor) -> Tensor:
        return sum((self._attend(parent_BPD, child) for child in children), parent_BPD)

    def _attend(self, parent_BPD: Tensor, child: Children) -> Tensor:
        name = map_name(child.slot)
        child_score_hd, heads = self.child_score[name], self.heads
        values = child.mapped(self.maps[name])
        scores = values.mapped(lambda value_XD: (value_XD.unflatten(-1, (heads, -1)) * child_score_hd).sum(-1))
        own_BPhd = parent_BPD[..., : child_score_hd.numel()].unflatten(-1, (heads, -1))
        score_BPkh = scores.vectors_BPkD() + (own_BPhd * self.parent_score[name]).sum(-1).unsqueeze(2)
        mask_BPk1 = child.mask_BPk.unsqueeze(-1)
        masked_BPkh = F.leaky_relu(score_BPkh, NEGATIVE_SLOPE).masked_fill(~mask_BPk1, NEVER)
        weight_BPkh = torch.softmax(masked_BPkh, dim=2) * mask_BPk1
        value_BPkhd = values.vectors_BPkD().unflatten(-1, (heads, -1))
        return (weight_BPkh.unsqueeze(4) * value_BPkhd).sum(dim=2).flatten(-2)
