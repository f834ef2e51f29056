"""Popularity: every user gets the same ranking, by the number of an item's users, those of late if asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from roilake.pipelines.retrieval.models.matrix import Constant, Fitted, MatrixModel, MatrixOptions, Progress


class Options(MatrixOptions):
    """``half_life_days``: a user counts half as much for each of these that have passed since his last event with the
    item; without it all count alike."""

    half_life_days: float | None = Field(None, gt=0)


class Model(MatrixModel):
    """score(h, i) = sum over the distinct users of i of 2^(-days / half_life_days): without it, their number."""

    def weigh(self, seen_UI: sp.csr_matrix, days: Callable[[], sp.csr_matrix]) -> sp.csr_matrix:
        """2^(-days / half_life_days) for each pair."""
        if self.options.half_life_days is None:
            return seen_UI
        days_UI = days()
        weight_E = np.exp2(-days_UI.data / self.options.half_life_days).astype(np.float32)
        return sp.csr_matrix((weight_E, days_UI.indices, days_UI.indptr), shape=days_UI.shape)

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        weight_I = np.bincount(seen_UI.indices, seen_UI.data, minlength=seen_UI.shape[1])
        return Constant(weight_I.astype(np.float32))
