"""A twin tower that never looks at a neighbour: what the graph adds is measured against it."""

from __future__ import annotations

from torch import Tensor

from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.encoder import EncoderTower
from roilake.pipelines.retrieval.models.tower import EncoderOptions, ResidualTowers, known_query
from roilake.pipelines.retrieval.roi.layout import RoiLayout


class Options(EncoderOptions):
    """``no_graph`` has no options of its own."""


class Model(EncoderTower):
    """The summed fields of user and query, and of the item, under residual towers. Shapes: see ``ResidualTowers``."""

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.towers = ResidualTowers(options.dim)

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        query_B, known_B1 = known_query(batch)
        user_BD = self.root("user", batch.user_B, features)
        query_BD = self.root("query", query_B, features) * known_B1
        return self.towers.requests(user_BD, query_BD)

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        return self.towers.items(self.root("item", batch.item_I, features))
