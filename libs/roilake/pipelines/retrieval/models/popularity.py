"""Popularity: every user gets the same ranking, by the number of an item's users."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from roilake.pipelines.retrieval.models.matrix import Factors, Fitted, MatrixModel, Progress
from roilake.pipelines.retrieval.models.sparse import degrees
from roilake.pipelines.retrieval.models.tower import Options as BaseOptions


class Options(BaseOptions):
    """Popularity has no options."""


class Model(MatrixModel):
    """score(u, i) = number of distinct users of i."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        _, item_I = degrees(seen_UI)
        return Factors(np.ones((seen_UI.shape[0], 1), np.float32), item_I[:, None])
