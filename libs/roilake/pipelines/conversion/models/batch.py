"""What a conversion model takes in and predicts.

Legend of shape suffixes: B impressions, F categorical fields, R rows of a field's table, V coordinates of a graph
vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from roilake.pipelines.conversion.config import Side


@dataclass(frozen=True)
class Field:
    """One categorical field: ``rows`` values have a row each, numbered from 0; -1 is a missing or unseen value."""

    name: str
    side: Side
    rows: int


@dataclass(frozen=True)
class ImpressionSchema:
    """What a model is built for. ``vectors`` maps a field (``user``, ``item``) to fixed vectors [R, V] of its rows,
    from a published graph model; zeros for a row that the graph does not know."""

    fields: tuple[Field, ...]
    click_rate: float  # of the train split, sampling rates undone
    vectors: Mapping[str, Tensor]


@dataclass(frozen=True)
class ImpressionBatch:
    """A stratified sample of impressions. ``weight_B`` is such that the weighted mean over the batch estimates the mean
    over all impressions: share of its stratum in them / rows of the stratum in the global batch / sampling rate."""

    row_BF: Tensor  # int64 row in each field's table, -1 missing
    click_B: Tensor  # float32 0 or 1
    conversion_B: Tensor  # float32 0 or 1; 0 where not clicked
    weight_B: Tensor  # float32
    propensity_B: Tensor  # float32 logged probability of a click, NaN where unknown
    pseudo_B: Tensor  # float32 teacher's probability of a conversion; NaN where there is none


@dataclass(frozen=True)
class Prediction:
    """``ctr_B`` is None for a model without a click task, ``uncertainty_B`` for one with a single conversion head."""

    cvr_B: Tensor  # probability of a conversion, if clicked
    ctr_B: Tensor | None = None
    uncertainty_B: Tensor | None = None  # KL(p || p') between the two heads to be expected over dropout, in nats
