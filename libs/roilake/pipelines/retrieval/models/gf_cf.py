"""GF-CF: collaborative filtering as a graph filter without training (Shen et al., CIKM 2021, "How Powerful is Graph
Convolution for Recommendation?")."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from roilake.pipelines.retrieval.models.matrix import Factors, Fitted, MatrixModel, MatrixOptions, Progress, Sum, Walk
from roilake.pipelines.retrieval.models.sparse import degrees, normalised, power, singular_vectors


class Options(MatrixOptions):
    """``alpha`` weighs the ideal low-pass filter against the linear one (0: the linear filter alone); ``dim`` is the
    number of singular vectors that it lets pass."""

    dim: int = Field(32, ge=1)
    alpha: float = Field(0.3, ge=0)


class Model(MatrixModel):
    """With R [U, I], degrees D_U, D_I and R~ = D_U^-1/2 R D_I^-1/2,

        score(h, .) = h (R~^T R~ + alpha D_I^-1/2 V V^T D_I^1/2)

    V [I, dim]: the right singular vectors of R~ of the largest singular values. The linear filter is a two-step walk,
    the low-pass one is a product of two factors. With dim above min(U, I) - 1, all but the last vector pass."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        """The two-step walk, and with ``alpha`` the low-pass filter on top of it."""
        _, item_I = degrees(seen_UI)
        linear = Walk(normalised(seen_UI).T.tocsr())
        dim = min(self.options.dim, min(seen_UI.shape) - 1)
        if self.options.alpha == 0 or dim < 1:
            return linear
        progress(f"gf_cf: {dim} singular vectors of {seen_UI.shape[0]:,} x {seen_UI.shape[1]:,}")
        basis_ID = singular_vectors(seen_UI, dim, seed)
        had_ID = power(item_I, -0.5)[:, None] * basis_ID
        item_ID = self.options.alpha * power(item_I, 0.5)[:, None] * basis_ID
        return Sum((linear, Factors(had_ID.astype(np.float32), item_ID.astype(np.float32))))
