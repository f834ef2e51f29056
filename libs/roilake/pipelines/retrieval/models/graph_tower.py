"""What graph models share: encode the nodes of a batch once, fold its trees, put towers on top."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.encoder import NODE_TYPES, EncoderTower
from roilake.pipelines.retrieval.models.tower import EncoderOptions, PaperTowers, ResidualTowers, known_query
from roilake.pipelines.retrieval.models.tree import Children, Nodes, Region, encode_touched, fold, touched
from roilake.pipelines.retrieval.roi.layout import RoiLayout

NodeIds = dict[str, list[Tensor]]
"""Ids of the nodes that a batch touches, by type; -1 included."""
SharedNodes = Mapping[str, Nodes] | None


class GraphOptions(EncoderOptions):
    """Options that all graph models have."""

    user_ids: Literal["learned", "none"] = "none"
    """As in ``EncoderOptions``. None by default: a region shows the user's own history, and beside it a row of his own
    was level on MovieLens and worse on Foursquare (NDCG@20 .742 against .748), for it says nothing of new users."""
    towers: Literal["residual", "paper"] = "residual"
    neighbours: Literal["learned", "detached", "frozen"] = "learned"
    """``learned``: neighbours carry all their fields, trained through the tree. ``detached``: the same vectors, trained
    only where the nodes are roots, so no gradient is scattered into the tables. ``frozen``: interest vectors only."""


class GraphTower(EncoderTower):
    """Roots carry all their fields; neighbours as ``options.neighbours`` says. A model says how to ``combine``."""

    def __init__(self, options: GraphOptions, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.neighbour_dim = schema.interest_dim if options.neighbours == "frozen" else options.dim
        self.towers = ResidualTowers(options.dim) if options.towers == "residual" else PaperTowers(options.dim)

    def width(self, hop: int) -> int:
        """Coordinates of the vectors that children of ``hop`` are folded into: D at the roots, V or D below."""
        return self.options.dim if hop == 1 else self.neighbour_dim

    @abstractmethod
    def combine(self, parent_BPD: Tensor, children: Sequence[Children], hop: int, focal_BD: Tensor) -> Tensor:
        """The parent's vector after it has seen its children [B, P, D]; ``focal_BD`` is the sum of the roots."""

    def roots(
        self, ids: Sequence[Tensor], types: Sequence[str], features: NodeFeatures, shared: SharedNodes = None
    ) -> list[Tensor]:
        """Own vectors of the roots [B, D] each."""
        return [
            shared[kind].at(ids_B) if shared and self.roots_have_ids[kind] else self.root(kind, ids_B, features)
            for kind, ids_B in zip(types, ids, strict=True)
        ]

    @property
    def shares_nodes(self) -> bool:
        """Whether a node has one vector, be it a root or a neighbour."""
        return bool(self.options.neighbours == "learned")

    def embed(self, requests: RequestBatch, items: ItemBatch, features: NodeFeatures) -> tuple[Tensor, Tensor]:
        """A node that is asked for, a candidate and a neighbour is encoded once."""
        shared = self._shared(features, self._ids_of_requests(requests), self._ids_of_items(items))
        return self._requests(requests, features, shared), self._items(items, features, shared)

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        return self._requests(batch, features, self._shared(features, self._ids_of_requests(batch)))

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        return self._items(batch, features, self._shared(features, self._ids_of_items(batch)))

    def _requests(self, batch: RequestBatch, features: NodeFeatures, shared: SharedNodes) -> Tensor:
        query_B, known_B1 = known_query(batch)
        user_BD, query_BD = self.roots([batch.user_B, query_B], ("user", "query"), features, shared)
        roots = [user_BD, query_BD * known_B1]
        region = Region(batch.neighbours_BS, batch.relevance_BS, batch.linked_BS, batch.recency_BS)
        user_BD, query_BD = self._fold(self.request_layout, roots, region, features, shared)
        return self.towers.requests(user_BD, query_BD * known_B1)

    def _items(self, batch: ItemBatch, features: NodeFeatures, shared: SharedNodes) -> Tensor:
        roots = self.roots([batch.item_I], ("item",), features, shared)
        region = Region(batch.neighbours_IS, batch.relevance_IS)
        return self.towers.items(self._fold(self.item_layout, roots, region, features, shared)[0])

    def _fold(
        self, layout: RoiLayout, roots: Sequence[Tensor], region: Region, features: NodeFeatures, shared: SharedNodes
    ) -> list[Tensor]:
        nodes = shared or self.neighbour_nodes(layout, region.neighbours_BS, features, roots[0])
        combine = partial(self.combine, focal_BD=sum(roots[1:], roots[0]))
        return fold(layout, roots, region, nodes, combine)

    def _ids_of_requests(self, batch: RequestBatch) -> NodeIds:
        roots = {"user": batch.user_B, "query": batch.query_B}
        return self._with_roots(touched(self.request_layout, batch.neighbours_BS), roots)

    def _ids_of_items(self, batch: ItemBatch) -> NodeIds:
        return self._with_roots(touched(self.item_layout, batch.neighbours_IS), {"item": batch.item_I})

    def _with_roots(self, ids: NodeIds, roots: Mapping[str, Tensor]) -> NodeIds:
        for name, ids_B in roots.items():
            if self.roots_have_ids[name]:
                ids.setdefault(name, []).append(ids_B)
        return ids

    def _shared(self, features: NodeFeatures, *ids: NodeIds) -> SharedNodes:
        """Each node of ``ids`` once, where ``shares_nodes``; else None."""
        if not self.shares_nodes:
            return None
        every = {name: [part for each in ids for part in each.get(name, ())] for name in NODE_TYPES}
        return self._encoded(features, {name: parts for name, parts in every.items() if parts})

    def _encoded(self, features: NodeFeatures, ids: NodeIds) -> dict[str, Nodes]:
        return {
            name: encode_touched(parts, len(features[name].degree_N), partial(self.encoders[name].sum, features[name]))
            for name, parts in ids.items()
        }

    def neighbour_nodes(
        self, layout: RoiLayout, neighbours_BS: Tensor, features: NodeFeatures, context_BD: Tensor
    ) -> dict[str, Nodes]:
        """The neighbours' vectors by node type, where they are not shared; ``context_BD`` is the vector of the user (or
        item) of each row."""
        if self.options.neighbours == "frozen":
            return {name: Nodes(features[name].interest_ND, None) for name in NODE_TYPES}
        with torch.no_grad():
            return self._encoded(features, touched(layout, neighbours_BS))
