"""SASRec: causal self-attention over the newest items of a history (a baseline)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema
from roilake.pipelines.retrieval.models.sequence import SequenceOptions, SequenceTower
from roilake.pipelines.retrieval.roi.layout import RoiLayout

NEVER = -1e9


class Options(SequenceOptions):
    """``heads`` must divide ``dim``."""

    layers: Annotated[int, Field(gt=0)] = 2
    heads: Annotated[int, Field(gt=0)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class Block(nn.Module):
    """x' = x + Drop(Attention(LN(x))),  x'' = x' + Drop(W_2 Drop(relu(W_1 LN(x'))))

    A position attends to itself and to known ones before it. With ``last`` only the newest position is computed, which
    is all that is left to know after the last block. Shapes: x [B, L, D], known [B, L] -> [B, L or 1, D]."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        # A bias of the keys would move all logits of a softmax alike
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, known_BL: Tensor, last: bool) -> Tensor:
        normed_BLD = self.before(x_BLD)
        own_BLD, asking_BLD = (x_BLD[:, -1:], normed_BLD[:, -1:]) if last else (x_BLD, normed_BLD)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking_BLD), self.key(normed_BLD), self.value(normed_BLD))
        )
        logit_BhQL = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        weight_BhQL = torch.softmax(logit_BhQL.masked_fill(~_sees(known_BL, last), NEVER), dim=3)
        own_BLD = own_BLD + self.drop((weight_BhQL @ value).transpose(1, 2).flatten(2))
        return own_BLD + self.drop(self.outer(self.drop(torch.relu(self.inner(self.between(own_BLD))))))


class Model(SequenceTower):
    """x = Blocks(items + positions), the state is that of the newest item; positions count from the newest one.

    Source: Kang and McAuley, "Self-attentive sequential recommendation" (2018). As there: learned positions, two blocks
    of one head, a point-wise network as wide as the vectors, dropout. Not as there: see ``SequenceTower``, and no layer
    norm behind the last block, for the towers set the length."""

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.position = nn.Parameter(torch.randn(options.history_length, options.dim) * 0.02)
        self.drop = nn.Dropout(options.dropout)
        blocks = (Block(options.dim, options.heads, options.dropout) for _ in range(options.layers))
        self.blocks = nn.ModuleList(blocks)

    def state(self, items_BLD: Tensor, known_BL: Tensor) -> Tensor:
        length = items_BLD.shape[1]
        x_BLD = self.drop(items_BLD + self.position[len(self.position) - length :])
        for number, block in enumerate(self.blocks, start=1):
            x_BLD = block(x_BLD, known_BL, last=number == len(self.blocks))
        return x_BLD[:, -1]


def _sees(known_BL: Tensor, last: bool) -> Tensor:
    """[B, 1, Q, L] whether a position may look at another one."""
    length = known_BL.shape[1]
    before_LL = torch.ones(length, length, dtype=torch.bool, device=known_BL.device).tril()
    return known_BL[:, None, None, :] & (before_LL[-1:] if last else before_LL)
