"""What models of a request's history as a sequence share: its items' vectors, and towers on the state that it ends in.

Legend: B requests, L items of a history, the newest last, D = ``dim``.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor

from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.encoder import EncoderTower
from roilake.pipelines.retrieval.models.tower import EncoderOptions, ResidualTowers, known_query
from roilake.pipelines.retrieval.models.tree import encode_touched
from roilake.pipelines.retrieval.roi.layout import RoiLayout


class SequenceOptions(EncoderOptions):
    """Options that all models of sequences have."""

    history_length: Annotated[int, Field(gt=0)] = 20
    """How many items of a history are read, the newest ones. Papers take 50 and more; a step of SASRec on a CPU then
    takes 228 ms for 84."""


class SequenceTower(EncoderTower):
    """A tower that sees the items of a request's history in their order, and its query: neither the user nor a graph.

    Published for the next item of a sequence, where one pass over it predicts each item from those before. Here a
    request is learnt from by its own history, with the loss, the candidates and the towers of all models of the suite;
    an item has all its fields. Shapes: history [B, L] -> state [B, D]."""

    def __init__(self, options: SequenceOptions, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.towers = ResidualTowers(options.dim)

    @staticmethod
    def history_length(options: SequenceOptions) -> int:
        """How many items of a request's history a model of these options reads."""
        return options.history_length

    @abstractmethod
    def state(self, items_BLD: Tensor, known_BL: Tensor) -> Tensor:
        """What a history comes to [B, D], of vectors that are 0 where it has no item (not ``known``)."""

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        history_BL = batch.history_BL[:, -self.options.history_length :]
        known_BL = history_BL >= 0
        encode = partial(self.encoders["item"].sum, features["item"])
        nodes = encode_touched([history_BL.reshape(-1)], len(features["item"].degree_N), encode)
        state_BD = self.state(nodes.at(history_BL) * known_BL.unsqueeze(2), known_BL)
        query_B, asked_B1 = known_query(batch)
        query_BD = self.root("query", query_B, features) * asked_B1
        return self.towers.requests(state_BD * known_BL.any(dim=1, keepdim=True), query_BD)

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        return self.towers.items(self.root("item", batch.item_I, features))
