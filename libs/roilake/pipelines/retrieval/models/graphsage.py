"""GraphSAGE with mean aggregation, one matrix per hop and edge type (a baseline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema
from roilake.pipelines.retrieval.models.graph_tower import GraphTower
from roilake.pipelines.retrieval.models.meta_weights import MetaGate, MetaOptions
from roilake.pipelines.retrieval.models.tree import Children, signal_names
from roilake.pipelines.retrieval.roi.layout import RoiLayout, Slot

NEIGHBOUR_SHARE = 0.3  # of a neighbour mean in its parent at the start; the rest is learned


class Options(MetaOptions):
    """GraphSAGE has no options of its own."""


class Model(GraphTower):
    r"""h_p' = h_p + sum over edge types e of W_{hop,e} mean_{j in children_e(p)} g_pj h_j

    W starts at 0.3 I; g is 1 but with ``meta_weights``. Source: Hamilton, Ying, Leskovec, "Inductive representation
    learning on large graphs" (2017), in the heterogeneous residual form without activation, which a trial found far
    better than the original one here.

    Shapes: h [B, P, D], children [B, P, k, D].
    """

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.maps = neighbour_maps(self)
        self.gates = neighbour_gates(self)

    def combine(self, parent_BPD: Tensor, children: Sequence[Children], hop: int, focal_BD: Tensor) -> Tensor:
        weights = (gated(self.gates, parent_BPD, child, child.equal_weights()) for child in children)
        pooled = [child.sum(weight_BPk) for child, weight_BPk in zip(children, weights, strict=True)]
        mapped = [self.maps[map_name(c.slot)](aggregate) for c, aggregate in zip(children, pooled, strict=True)]
        return sum(mapped, parent_BPD)


def map_name(slot: Slot) -> str:
    """Name of the matrix of a slot: hop and edge type."""
    return f"hop{slot.hop}_{slot.edge_type}"


def neighbour_gates(model: GraphTower) -> nn.ModuleDict:
    """A gate for each hop and edge type of either layout, where the model's options have ``meta_weights``."""
    slots = [slot for layout in (model.request_layout, model.item_layout) for slot in layout.slots]
    sizes = {map_name(slot): len(signal_names(slot)) for slot in slots if model.options.meta_weights}
    return nn.ModuleDict({name: MetaGate(model.neighbour_dim, size) for name, size in sizes.items()})


def gated(gates: nn.ModuleDict, parent_BPD: Tensor, child: Children, weight_BPk: Tensor) -> Tensor:
    """The neighbours' weights times their gates, if there are any [B, P, k]."""
    name = map_name(child.slot)
    return weight_BPk * gates[name](parent_BPD, child) if name in gates else weight_BPk


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
