"""Models: no Spark and no I/O but their own arrays. One file per model, named as a config's ``kind``, of two families:
twin towers (torch modules over ROIs) hold ``Options`` (validated) and ``Model(options, schema, *layouts)``; baselines
of the user-item matrix alone hold ``Options`` and ``Model(options)`` with ``fit``, see ``matrix``. A new model costs
one file and one config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch, TypeFeatures
from roilake.pipelines.retrieval.models.graph_tower import GraphTower
from roilake.pipelines.retrieval.models.matrix import (
    Constant,
    Fitted,
    ItemMap,
    MatrixModel,
    OrPopular,
    Progress,
    Sum,
    interactions,
    load_fitted,
)
from roilake.pipelines.retrieval.models.sparse import degrees
from roilake.pipelines.retrieval.models.tower import TwinTower
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.training.context import determinism
from roilake.training.models import ModelFiles

__all__ = [
    "FeatureSchema", "Fitted", "ItemBatch", "NodeFeatures", "RequestBatch", "TwinTower", "TypeFeatures",
    "build", "check", "fit", "history_length", "interactions", "is_matrix_kind", "is_trainable", "kinds", "load_fitted",
    "makes_interests", "reads_regions",
]  # fmt: skip

_FILES = ModelFiles(
    __name__,
    __path__,
    {"attention", "batch", "encoder", "graph_tower", "matrix", "meta_weights", "sequence", "sparse", "tower", "tree"},
)
kinds, check = _FILES.kinds, _FILES.check


def build(kind: str, options: dict[str, Any], schema: FeatureSchema, *layouts: RoiLayout) -> TwinTower:
    """An untrained twin tower of this kind; ``layouts`` are those of requests and items. Raises ConfigError for an
    unknown kind or option."""
    model: TwinTower = _FILES.build(kind, options, schema, *layouts)
    return model


def is_matrix_kind(kind: str) -> bool:
    """True for a baseline of the user-item matrix (``fit``), False for a twin tower (``build``)."""
    return issubclass(_FILES.module(kind).Model, MatrixModel)


def is_trainable(kind: str) -> bool:
    """True for a twin tower that has parameters to learn."""
    return bool(getattr(_FILES.module(kind).Model, "trainable", False))


def makes_interests(kind: str) -> bool:
    """True for a model that gives every node a vector for the next night to select by."""
    return kind in kinds() and hasattr(_FILES.module(kind).Model, "interest_vectors")


def reads_regions(kind: str) -> bool:
    """True for a model that looks at regions of interest."""
    return kind in kinds() and issubclass(_FILES.module(kind).Model, GraphTower)


def history_length(kind: str, options: dict[str, Any]) -> int:
    """How many items of a request's history a model of this kind reads (``RequestBatch.history_BL``): what its class
    says by ``history_length``, a number or a function of its options; else none."""
    length = getattr(_FILES.module(kind).Model, "history_length", 0)
    return int(length(check(kind, options)) if callable(length) else length)


def fit(
    kind: str,
    options: dict[str, Any],
    seen_UI: sp.csr_matrix,
    seed: int,
    progress: Progress,
    days: Callable[[], sp.csr_matrix] | None = None,
) -> Fitted:
    """The baseline of this kind, fitted to a 0/1 matrix [U, I] float32 (see ``interactions``), to the same bits each
    time. ``days`` gives the days since the last event of each of its pairs, for a model that forgets. A history
    without any item that a user of the matrix had gets popularity, from every kind. A matrix without a single 1 teaches
    nothing: every score is 0. Raises ConfigError for an unknown kind or option."""
    model: MatrixModel = _FILES.build(kind, options)
    popular = Constant(degrees(seen_UI)[1])
    if seen_UI.nnz == 0:
        return popular
    with determinism("strict"):  # else torch's threads add up gradients of 32,768 rows and more as they come
        fitted = model.fit(seen_UI if days is None else model.weigh(seen_UI, days), seed, progress)
    if isinstance(fitted, Constant):
        popular = fitted  # popularity's own, of late if it forgets
    if model.options.itself:
        itself_II = sp.identity(seen_UI.shape[1], np.float32, format="csr") * np.float32(model.options.itself)
        fitted = Sum((fitted, ItemMap(itself_II)))
    return OrPopular((fitted, popular))
