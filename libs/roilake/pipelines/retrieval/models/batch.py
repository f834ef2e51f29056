"""What a model sees: batches of tensors, all node ids dense per type, -1 for "none".

Legend of shape suffixes: B requests, I items, S slots of a ROI (see ``retrieval.roi.layout``), P positives, N nodes of
one type, D interest dimension, T terms, F categorical fields, L history items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from torch import Tensor


@dataclass(frozen=True)
class RequestBatch:
    """Requests of one window. ``weight_B`` is 0 for rows that only pad the batch to its fixed size."""

    user_B: Tensor  # int64
    query_B: Tensor  # int64, -1 where the request has none
    neighbours_BS: Tensor  # int64, -1 padded
    relevance_BS: Tensor  # float32 in [-1/3, 1]
    linked_BS: Tensor  # float32, 1 for a neighbour of the history that is linked to the query, else 0
    recency_BS: Tensor  # float32, of neighbours of the history (see RelevanceWeights); 0 for all others
    time_B: Tensor  # int64 microseconds
    history_BL: Tensor  # int64 distinct items that the user had before, the newest last, -1 padded at the left
    positives_BP: Tensor  # int64 item ids, -1 padded
    weight_B: Tensor  # float32


@dataclass(frozen=True)
class ItemBatch:
    """Items with their own ROI, as of one window; nothing here depends on who asks."""

    item_I: Tensor
    neighbours_IS: Tensor
    relevance_IS: Tensor


Batch = TypeVar("Batch", RequestBatch, ItemBatch)


def split(batch: Batch, rows: int) -> list[Batch]:
    """The batch in parts of ``rows`` rows, the last one of what is left."""
    columns = (getattr(batch, each.name).split(rows) for each in fields(batch))
    return [type(batch)(*part) for part in zip(*columns, strict=True)]


@dataclass(frozen=True)
class TypeFeatures:
    """Features of all nodes of one type as of one window."""

    interest_ND: Tensor  # float32; zero for a node that the graph of the window does not hold
    events_N: Tensor  # int64 number of events before the window
    degree_N: Tensor  # int64 bucket: floor(log2(1 + events_N))
    terms_NT: Tensor  # int64 term ids, 0 padded
    fields_NF: Tensor  # int64 category ids, 0 = unknown
    vector_NV: Tensor | None = None  # float32 what published facts tell; zero for a node of which they tell nothing


NodeFeatures = Mapping[str, TypeFeatures]
"""By node type: "user", "query", "item"."""


@dataclass(frozen=True)
class FeatureSchema:
    """Sizes that a model needs to be built: nodes, term vocabulary, and by node type the category counts of its fields,
    in the order of ``TypeFeatures.fields_NF``."""

    num_nodes: Mapping[str, int]
    num_terms: int
    num_categories: Mapping[str, Mapping[str, int]]
    interest_dim: int
    vector_dim: Mapping[str, int] = field(default_factory=dict)  # of types that have vectors
