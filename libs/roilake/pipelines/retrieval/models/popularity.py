"""Popularity: every user gets the same ranking, by the number of an item's users."""

from __future__ import annotations

import scipy.sparse as sp

from roilake.pipelines.retrieval.models.matrix import Constant, Fitted, MatrixModel, Progress
from roilake.pipelines.retrieval.models.sparse import degrees
from roilake.pipelines.retrieval.models.tower import Options as BaseOptions


class Options(BaseOptions):
    """Popularity has no options."""


class Model(MatrixModel):
    """score(h, i) = number of distinct users of i."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        _, item_I = degrees(seen_UI)
        return Constant(item_I)
