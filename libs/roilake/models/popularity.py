"""Popularity: every request gets the same ranking, by the number of events of an item before the window."""

from __future__ import annotations

from torch import Tensor

from roilake.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.models.tower import Options as BaseOptions
from roilake.models.tower import TwinTower
from roilake.roi.layout import RoiLayout


class Options(BaseOptions):
    """Popularity has no options."""


class Model(TwinTower):
    """score(r, i) = number of events of i before the window. Shapes: [B, 1], [I, 1]."""

    trainable = False

    def __init__(
        self, options: Options, schema: FeatureSchema, request_layout: RoiLayout, item_layout: RoiLayout
    ) -> None:
        super().__init__(schema, request_layout, item_layout)

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        return features["user"].interest_ND.new_ones(len(batch.user_B), 1)

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        return features["item"].events_N[batch.item_I].float().unsqueeze(1)
