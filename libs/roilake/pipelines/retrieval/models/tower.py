"""What every model of the suite is: two towers whose vectors meet in a plain dot product.

Legend: B requests, I items, D = ``dim``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.training.models import Options


class EncoderOptions(Options):
    """Options of models that learn a vector for each node."""

    dim: int = 64
    id_buckets: Annotated[int, Field(gt=0)] | None = None
    """Most rows of a table of node ids; of a type with more nodes, nodes share them (``HashedEmbedding``)."""
    user_ids: Literal["learned", "none"] = "learned"
    """``none``: the user who asks has no row of his own, so one who came yesterday is served as well as an old one.
    Users among the neighbours keep theirs."""
    without_fields: tuple[str, ...] = ()
    """Category fields of nodes that the model does not see. Beside the same model with them it tells what they are
    worth."""
    without_vectors: bool = False
    """The model does not see what published facts tell of items (``graph.facts``)."""


class TwinTower(nn.Module, ABC):
    """A model. ``score(request, item) = <embed_requests, embed_items>``: biases and scales are folded into the vectors,
    so exact top-K is one matrix product. An item's vector depends on nothing of the requester."""

    trainable = True

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        """``layouts`` are those of requests and of items."""
        super().__init__()
        self.options: Any = options
        self.request_layout, self.item_layout = layouts

    @abstractmethod
    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        """Request vectors [B, d]."""

    @abstractmethod
    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        """Item vectors [I, d]."""

    def embed(self, requests: RequestBatch, items: ItemBatch, features: NodeFeatures) -> tuple[Tensor, Tensor]:
        """Both, for a step of training."""
        return self.embed_requests(requests, features), self.embed_items(items, features)


class ResidualTowers(nn.Module):
    """Towers that start as the identity (ours; the published ones are ``PaperTowers``).

        r = e^t l2norm(u + q + MLP_r([u || q])) || 1
        i = l2norm(x + MLP_i(x)) || b(x)

    with MLP = D -> 2D -> D, ELU, last layer 0 at the start; the score is e^t cos + b(x): a learned temperature and the
    item's own bias. Shapes: u, q, x [*, D] -> r [B, D + 1], i [I, D + 1]."""

    def __init__(self, dim: int, scale: float = 10.0) -> None:
        super().__init__()
        self.request, self.item = _residual_mlp(2 * dim, dim), _residual_mlp(dim, dim)
        self.bias = zeroed(nn.Linear(dim, 1, bias=False))
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def requests(self, user_BD: Tensor, query_BD: Tensor) -> Tensor:
        vector_BD = user_BD + query_BD + self.request(torch.cat([user_BD, query_BD], dim=1))
        scaled_BD = F.normalize(vector_BD, dim=1) * self.log_scale.exp()
        return torch.cat([scaled_BD, torch.ones_like(scaled_BD[:, :1])], dim=1)

    def items(self, item_ID: Tensor) -> Tensor:
        return torch.cat([F.normalize(item_ID + self.item(item_ID), dim=1), self.bias(item_ID)], dim=1)


class PaperTowers(nn.Module):
    """ZOOMER's towers as its public code has them: no residual, vectors of length 1, so scores lie in [-1, 1].

        r = l2norm(Dense(Dense(l2norm(u || q))))      128 -> 64 -> 64 at D = 64
        i = l2norm(Dense(Dense(l2norm(x))))            64 -> 64 -> 64

    Dense is x W + b with ELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.request = nn.Sequential(nn.Linear(2 * dim, dim), nn.ELU(), nn.Linear(dim, dim), nn.ELU())
        self.item = nn.Sequential(nn.Linear(dim, dim), nn.ELU(), nn.Linear(dim, dim), nn.ELU())

    def requests(self, user_BD: Tensor, query_BD: Tensor) -> Tensor:
        return F.normalize(self.request(F.normalize(torch.cat([user_BD, query_BD], dim=1), dim=1)), dim=1)

    def items(self, item_ID: Tensor) -> Tensor:
        return F.normalize(self.item(F.normalize(item_ID, dim=1)), dim=1)


def known_query(batch: RequestBatch) -> tuple[Tensor, Tensor]:
    """Query ids [B] fit for indexing, and a mask [B, 1] that is 0 where the request has no query."""
    return batch.query_B.clamp(min=0), (batch.query_B >= 0).float().unsqueeze(1)


def zeroed(linear: nn.Linear) -> nn.Linear:
    """The layer, starting at 0."""
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear


def _residual_mlp(inputs: int, dim: int) -> nn.Sequential:
    last = zeroed(nn.Linear(2 * dim, dim))
    return nn.Sequential(nn.Linear(inputs, 2 * dim), nn.ELU(), last)
