"""What conversion models share: embeddings of an impression's fields, and a tower with a head for each task.

Legend of shape suffixes: B impressions, F fields, D = ``dim``, X inputs of a tower, H outputs of its last layer, Z
inputs of a head, S sides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast

import torch
from pydantic import Field as Bounded
from torch import Tensor, nn

from roilake.pipelines.conversion.models.batch import ImpressionBatch, ImpressionSchema, Prediction
from roilake.training.dropout import Dropout
from roilake.training.models import Options
from roilake.training.task import Term

HIDDEN, LAST = 48, 24
SPARSE_ABOVE = 1 << 16
SPREAD = 0.05
Task = Literal["ctr", "cvr"]


class ConversionOptions(Options):
    """Options of every conversion model: width of the embeddings, dropout behind each layer of a tower."""

    dim: Annotated[int, Bounded(gt=0)] = 16
    dropout: Annotated[float, Bounded(ge=0, lt=1)] = 0.1


@dataclass(frozen=True)
class Shared:
    """What all towers see of a batch."""

    input_BX: Tensor  # [u, i, u * i, c]
    direct_BZ: Tensor  # [u * i, bias of each side]: goes past the tower, straight to its head

    def at(self, rows: Tensor) -> Shared:
        """Some of the rows."""
        return Shared(self.input_BX[rows], self.direct_BZ[rows])


class Embeddings(nn.Module):
    """u = sum of the rows of the user's fields + W_u g_u, with g_u the user's fixed graph vector where there are any;
    i likewise for the item, c for the context. Each row also holds a scalar bias of its side.

    One table holds the rows of all fields, so that a batch costs one gather. A missing value is a row of zeros that
    does not learn. A table of more than ``SPARSE_ABOVE`` rows has sparse gradients, so that a step costs only the rows
    that it touches."""

    _order: Tensor
    _starts: Tensor

    def __init__(self, schema: ImpressionSchema, dim: int) -> None:
        super().__init__()
        sizes = torch.tensor([field.rows for field in schema.fields])
        sides = [side for side in ("user", "item", "context") if any(f.side == side for f in schema.fields)]
        places = [[n for n, f in enumerate(schema.fields) if f.side == side] for side in sides]
        order = torch.tensor([index for part in places for index in part])
        self.register_buffer("_order", order, persistent=False)
        self.register_buffer("_starts", (sizes.cumsum(0) - sizes)[order], persistent=False)
        self._counts = [len(part) for part in places]
        self._zero = int(sizes.sum())
        sparse = self._zero > SPARSE_ABOVE
        self.table = nn.Embedding(self._zero + 1, dim + 1, padding_idx=self._zero, sparse=sparse)
        nn.init.normal_(self.table.weight, std=SPREAD)
        with torch.no_grad():
            self.table.weight[self._zero] = 0.0
            self.table.weight[:, dim] = 0.0
        self.maps = nn.ModuleDict()
        self._vectors: dict[int, tuple[int, str]] = {}  # side -> (index of its field in the batch, its name)
        names = [field.name for field in schema.fields]
        for name, vectors_RV in schema.vectors.items():
            index = names.index(name)
            self._vectors[sides.index(schema.fields[index].side)] = (index, name)
            self.maps[name] = nn.Linear(vectors_RV.shape[1], dim, bias=False)
            padded = torch.cat([vectors_RV.float(), torch.zeros_like(vectors_RV[:1]).float()])
            self.register_buffer(f"graph_{name}", padded)
        self.inputs = (len(sides) + 1) * dim
        self.direct = dim + len(sides)
        self._dim = dim

    def forward(self, row_BF: Tensor) -> Shared:
        """Rows of each field's table [B, F], -1 missing, as what the towers take in."""
        ordered_BF = row_BF.index_select(1, self._order)
        place_BF = torch.where(ordered_BF < 0, self._zero, ordered_BF + self._starts)
        fields = self.table(place_BF).split(self._counts, dim=1)
        sides = [part.sum(dim=1) if part.shape[1] > 1 else part.squeeze(1) for part in fields]
        vectors = [side[:, : self._dim] for side in sides]
        for side, (index, name) in self._vectors.items():
            graph_RV = cast(Tensor, getattr(self, f"graph_{name}"))
            vectors[side] = vectors[side] + self.maps[name](graph_RV[row_BF[:, index]])  # -1: the last, zero row
        user_BD, item_BD, *context = vectors
        product_BD = user_BD * item_BD
        biases = [side[:, self._dim :] for side in sides]
        return Shared(
            torch.cat([user_BD, item_BD, product_BD, *context], dim=1), torch.cat([product_BD, *biases], dim=1)
        )


class Tower(nn.Module):
    """h = ReLU MLP X -> 48 -> 24 with dropout; z = [h, u * i, biases]; a linear head on z gives the task's logit.

    Shapes: h [B, H], z [B, Z], logit [B]. The direct part lets a factor model be learnt beside the network.
    """

    def __init__(self, embeddings: Embeddings, dropout: float, heads: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embeddings.inputs, HIDDEN), nn.ReLU(), Dropout(dropout),
            nn.Linear(HIDDEN, LAST), nn.ReLU(), Dropout(dropout),
        )  # fmt: skip
        self.heads = nn.ModuleList(nn.Linear(LAST + embeddings.direct, 1) for _ in range(heads))

    def hidden(self, shared: Shared) -> Tensor:
        """h [B, H]."""
        return self.layers(shared.input_BX)

    def forward(self, shared: Shared) -> Tensor:
        return self.logit(self.hidden(shared), shared)

    def head_input(self, hidden_BH: Tensor, shared: Shared) -> Tensor:
        """z [B, Z]."""
        return torch.cat([hidden_BH, shared.direct_BZ], dim=1)

    def logit(self, hidden_BH: Tensor, shared: Shared) -> Tensor:
        """Logit [B] of the first head, float32 for the losses in mixed precision too."""
        return self.heads[0](self.head_input(hidden_BH, shared)).squeeze(1).float()


class ConversionModel(nn.Module, ABC):
    """A model of the conversion of an impression: one tower per task over shared embeddings."""

    tasks: tuple[str, ...] = ("ctr", "cvr")  # a tower each
    discriminates = False  # has a domain discriminator

    def __init__(self, options: ConversionOptions, schema: ImpressionSchema, cvr_heads: int = 1) -> None:
        super().__init__()
        self.options, self.schema = options, schema
        self.embeddings = Embeddings(schema, options.dim)
        self.towers = nn.ModuleDict(
            {task: Tower(self.embeddings, options.dropout, cvr_heads if task == "cvr" else 1) for task in self.tasks}
        )

    @abstractmethod
    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The parts of the loss, always the same names in the same order; those with coefficient 0 are figures."""

    def predict(self, batch: ImpressionBatch) -> Prediction:
        """Probabilities of click, where the model has a tower for it, and conversion."""
        shared = self.embeddings(batch.row_BF)
        ctr_B = torch.sigmoid(self.towers["ctr"](shared)) if "ctr" in self.towers else None
        return Prediction(cvr_B=torch.sigmoid(self.towers["cvr"](shared)), ctr_B=ctr_B)

    def domain_logit(self, batch: ImpressionBatch) -> Tensor:
        """Logit [B] of being clicked, by the discriminator of a model that ``discriminates``."""
        raise NotImplementedError


def clicked_rows(batch: ImpressionBatch) -> Tensor:
    """Numbers [C] of the clicked rows. A mask would be counted again by each index, and a GPU waited for."""
    return (batch.click_B > 0).nonzero().squeeze(1)


def select(batch: ImpressionBatch, rows: Tensor) -> ImpressionBatch:
    """Some rows of a batch."""
    return replace(batch, **{name: getattr(batch, name)[rows] for name in ImpressionBatch.__dataclass_fields__})
