"""The plain dot product of the interest vectors that select ROIs: no training at all, and hard to beat."""

from __future__ import annotations

from torch import Tensor

from roilake.pipelines.retrieval.models.batch import ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.tower import Options as BaseOptions
from roilake.pipelines.retrieval.models.tower import TwinTower, known_query


class Options(BaseOptions):
    """The dot product has no options."""


class Model(TwinTower):
    """score(r, i) = <v_user + v_query, v_item>. Shapes: [B, V], [I, V]."""

    trainable = False

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        query_B, known_B1 = known_query(batch)
        return features["user"].interest_ND[batch.user_B] + features["query"].interest_ND[query_B] * known_B1

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        return features["item"].interest_ND[batch.item_I]
