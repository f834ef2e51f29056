"""ZOOMER: three levels of attention over a request's region of interest, and twin towers.

Source: "ZOOMER: Boosting Retrieval on Web-scale Graphs by Regions of Interest" (arXiv 2203.12596) and facts of its
public code. The ROI itself (focal sum, Tanimoto top-k) is a reconstruction, see ``retrieval.roi``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import Tensor, nn

from roilake.pipelines.retrieval.models.attention import Attention, EdgeAttention, FeatureAttention, SemanticAttention
from roilake.pipelines.retrieval.models.batch import FeatureSchema, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.encoder import NODE_TYPES
from roilake.pipelines.retrieval.models.graph_tower import GraphTower, SharedNodes
from roilake.pipelines.retrieval.models.graphsage import gated, map_name, neighbour_gates, neighbour_maps
from roilake.pipelines.retrieval.models.meta_weights import MetaOptions
from roilake.pipelines.retrieval.models.tree import SIGNALS, Children, Nodes, encode_touched, signal_names, touched
from roilake.pipelines.retrieval.roi.layout import RoiLayout

TINY = 1e-12


class Options(MetaOptions):
    """Each level can be switched off: features are then summed, edges averaged, relations summed."""

    feature_attention: bool = True
    edge_attention: bool = True
    semantic_attention: bool = True


@dataclass(frozen=True)
class FieldNodes(Nodes):
    """Nodes whose fields (``table_ND`` is [N, K D]) are reweighed in the context [B, D] of each row, so no two rows
    share a vector."""

    attention: FeatureAttention
    context_BD: Tensor

    def at(self, ids: Tensor) -> Tensor:
        fields = super().at(ids).unflatten(-1, (-1, self.context_BD.shape[-1]))
        context = self.context_BD.reshape(len(ids), *[1] * (ids.dim() - 1), -1)
        return self.attention(fields, context)

    def bag(self, ids_BPk: Tensor, weight_BPk: Tensor) -> Tensor:
        return (weight_BPk.unsqueeze(3) * self.at(ids_BPk)).sum(dim=2)


class Model(GraphTower):
    """h_p' = Semantic(g, [h_p, W_e Edge(g, children_e) for each edge type e]), nodes through feature attention.

    g is the focal at hop 1 (h_user + h_query; the item's own vector on the item side, so that no item vector depends
    on the requester) and focal + h_p below. See ``attention`` for the three levels and ``tower`` for both kinds of
    towers. Only neighbours that learn have their fields reweighed.

    Not as in the public code: no BatchNorm after hop 2, one width D for all fields and hops, no second softmax.

    Shapes: h [B, P, D], children [B, P, k, D or V].
    """

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.maps, self.gates = neighbour_maps(self), neighbour_gates(self)
        slots = [slot for layout in layouts for slot in layout.slots]
        if options.feature_attention:
            self.feature = nn.ModuleDict({name: FeatureAttention(options.dim) for name in NODE_TYPES})
        if options.edge_attention:
            self.edge = nn.ModuleDict({map_name(s): EdgeAttention(len(signal_names(s))) for s in slots})
        if options.semantic_attention:
            hops = {slot.hop for slot in slots}
            self.semantic = nn.ModuleDict({f"hop{hop}": SemanticAttention(self.width(hop)) for hop in hops})
        self._attention: list[Attention] | None = None

    def attention(self, batch: RequestBatch, features: NodeFeatures) -> list[Attention]:
        """The weights with which ``embed_requests`` combines, deepest hop first. A level that is switched off weighs
        all alike."""
        kept: list[Attention] = []
        self._attention = kept
        try:
            self.embed_requests(batch, features)
        finally:
            self._attention = None
        return kept

    def relevance_weights(self) -> dict[str, float] | None:
        """What edge attention has learnt to weigh the items of a history by, for the next night's relevance: weights
        whose absolute values sum to 1. None where it has learnt none."""
        name = "hop1_user_item"
        slots = [slot for slot in self.request_layout.history if map_name(slot) == name]
        if not (slots and self.options.edge_attention):
            return None
        learnt = cast(EdgeAttention, self.edge[name]).signal.detach().double()
        size = float(learnt.abs().sum())
        return dict(zip(SIGNALS, (learnt / size).tolist(), strict=True)) if size else None

    @property
    def shares_nodes(self) -> bool:
        """Feature attention gives a node another vector in each region."""
        return super().shares_nodes and not self.options.feature_attention

    def roots(
        self, ids: Sequence[Tensor], types: Sequence[str], features: NodeFeatures, shared: SharedNodes = None
    ) -> list[Tensor]:
        if not self.options.feature_attention:
            return super().roots(ids, types, features, shared)
        fields = [
            self.encoders[kind](features[kind], ids_B, ids=self.roots_have_ids[kind])
            for kind, ids_B in zip(types, ids, strict=True)
        ]
        context_BD = fields[0].sum(dim=1)
        return [self.feature[kind](fields_BKD, context_BD) for kind, fields_BKD in zip(types, fields, strict=True)]

    def combine(self, parent_BPD: Tensor, children: Sequence[Children], hop: int, focal_BD: Tensor) -> Tensor:
        focal_B1D = focal_BD.unsqueeze(1)[..., : self.width(hop)]
        context_BPD = focal_B1D.expand_as(parent_BPD) if hop == 1 else focal_B1D + parent_BPD
        pooled = [self._pool(context_BPD, parent_BPD, child) for child in children]
        mapped = [self.maps[map_name(c.slot)](agg) for c, (agg, _) in zip(children, pooled, strict=True)]
        combined_BPD, weight_BPR = self._relate(context_BPD, [parent_BPD, *mapped], hop)
        if self._attention is not None:
            weights = tuple(weight_BPk / weight_BPk.sum(2, keepdim=True).clamp(min=TINY) for _, weight_BPk in pooled)
            self._attention.append(Attention(tuple(c.slot for c in children), weights, weight_BPR))
        return combined_BPD

    def _pool(self, context_BPD: Tensor, parent_BPD: Tensor, child: Children) -> tuple[Tensor, Tensor]:
        """The children's aggregate [B, P, D or V] and their weights [B, P, k]."""
        if not self.options.edge_attention:
            weight_BPk = gated(self.gates, parent_BPD, child, child.equal_weights())
            return child.sum(weight_BPk), weight_BPk
        vectors_BPkD = child.vectors_BPkD()
        attention = self.edge[map_name(child.slot)](context_BPD[..., : self.neighbour_dim], child, vectors_BPkD)
        weight_BPk = gated(self.gates, parent_BPD, child, attention)
        return (weight_BPk.unsqueeze(3) * vectors_BPkD).sum(dim=2), weight_BPk

    def _relate(self, context_BPD: Tensor, relations: Sequence[Tensor], hop: int) -> tuple[Tensor, Tensor]:
        """The relations' sum [B, P, D] and their weights [B, P, R]."""
        if not self.options.semantic_attention:
            equal_BPR = context_BPD.new_full((*context_BPD.shape[:2], len(relations)), 1 / len(relations))
            return sum(relations[1:], relations[0]), equal_BPR
        related: tuple[Tensor, Tensor] = self.semantic[f"hop{hop}"](context_BPD, relations)
        return related

    def neighbour_nodes(
        self, layout: RoiLayout, neighbours_BS: Tensor, features: NodeFeatures, context_BD: Tensor
    ) -> dict[str, Nodes]:
        if not self.options.feature_attention or self.options.neighbours != "learned":
            return super().neighbour_nodes(layout, neighbours_BS, features, context_BD)
        nodes: dict[str, Nodes] = {}
        for name, ids in touched(layout, neighbours_BS).items():
            found = encode_touched(ids, len(features[name].degree_N), partial(self.encoders[name], features[name]))
            attention = cast(FeatureAttention, self.feature[name])
            nodes[name] = FieldNodes(found.table_ND.flatten(1), found.ids, attention, context_BD)
        return nodes
