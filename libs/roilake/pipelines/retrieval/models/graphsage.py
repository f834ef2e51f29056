"""GraphSAGE with mean aggregation, one matrix per hop and edge type (a baseline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema
from roilake.pipelines.retrieval.models.graph_tower import GraphOptions, GraphTower
from roilake.pipelines.retrieval.models.tree import Children
from roilake.pipelines.retrieval.roi.layout import RoiLayout, Slot

NEIGHBOUR_SHARE = 0.3  # of a neighbour mean in its parent at the start; the rest is learned


class Options(GraphOptions):
    """GraphSAGE has no options of its own."""


class Model(GraphTower):
    r"""h_p' = h_p + sum over edge types e of W_{hop,e} mean_{j in children_e(p)} h_j

    W starts at 0.3 I. Source: Hamilton, Ying, Leskovec, "Inductive representation learning on large graphs" (2017),
    in the heterogeneous residual form without activation, which a trial found far better than the original one here.

    Shapes: h [B, P, D], children [B, P, k, D].
    """

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.maps = neighbour_maps(self)

    def combine(self, parent_BPD: Tensor, children: Sequence[Children], hop: int, focal_BD: Tensor) -> Tensor:
        aggregates = [self.maps[map_name(child.slot)](child.mean()) for child in children]
        return sum(aggregates, parent_BPD)


def map_name(slot: Slot) -> str:
    """Name of the matrix of a slot: hop and edge type."""
    return f"hop{slot.hop}_{slot.edge_type}"


def neighbour_maps(model: GraphTower) -> nn.ModuleDict:
    """A matrix for each hop and edge type of either layout, 0.3 I at the start. Frozen neighbours have V coordinates
    until they reach the root: [V -> V] below hop 1, [V -> D] at hop 1."""
    maps = nn.ModuleDict()
    for slot in (*model.request_layout.slots, *model.item_layout.slots):
        linear = nn.Linear(model.neighbour_dim, model.width(slot.hop), bias=False)
        with torch.no_grad():
            linear.weight.copy_(torch.eye(*linear.weight.shape) * NEIGHBOUR_SHARE)
        maps[map_name(slot)] = linear
    return maps
