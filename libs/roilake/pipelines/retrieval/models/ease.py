"""EASE: a linear item-item model in closed form (Steck, WWW 2019, "Embarrassingly Shallow Autoencoders")."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import lapack

from roilake.pipelines.retrieval.models.matrix import Fitted, ItemMap, MatrixModel, MatrixOptions, Progress
from roilake.pipelines.retrieval.models.sparse import BLOCK, Floats


class Options(MatrixOptions):
    """``penalty`` is lambda, the weight of the squared map."""

    penalty: float = Field(50.0, gt=0)


class Model(MatrixModel):
    """min over B of |R - R B|^2 + penalty |B|^2 with a zero diagonal, whose solution is

        P = (R^T R + penalty)^-1,   B_ij = -P_ij / P_jj,   B_jj = 0,   score(u, .) = h B

    The map is dense: 4 I^2 bytes, made in place in float32 by Cholesky, in I^3 multiplications. 10,000 items take
    0.4 GB, 41,000 6.7 GB and 7e13 multiplications.
    """

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        """The item map B, solved in its own memory."""
        items = seen_UI.shape[1]
        progress(f"ease: a dense map of {items:,} items, {4 * items**2 / 1e9:.1f} GB")
        map_II = np.empty((items, items), np.float32, order="F")
        back_IU = seen_UI.T.tocsr()
        for start in range(0, items, BLOCK):
            map_II[start : start + BLOCK] = (back_IU[start : start + BLOCK] @ seen_UI).toarray()
        map_II[np.diag_indices(items)] += self.options.penalty
        inverse_II = _invert(map_II).T  # symmetric: the transpose is the same in C order
        inverse_II /= -inverse_II.diagonal().copy()
        inverse_II[np.diag_indices(items)] = 0.0
        return ItemMap(inverse_II)


def _invert(matrix_II: Floats) -> Floats:
    """The inverse of a symmetric positive definite matrix in Fortran order, in its place."""
    factor_II, failed = lapack.spotrf(matrix_II, lower=1, overwrite_a=1)
    inverse_II, singular = lapack.spotri(factor_II, lower=1, overwrite_c=1)
    if failed or singular:
        raise np.linalg.LinAlgError("EASE's matrix is not positive definite in float32")
    for start in range(0, len(inverse_II), BLOCK):  # LAPACK gives the lower triangle
        stop = min(start + BLOCK, len(inverse_II))
        inverse_II[start:stop, stop:] = inverse_II[stop:, start:stop].T
        square = inverse_II[start:stop, start:stop]
        square[:] = np.tril(square) + np.tril(square, -1).T
    return inverse_II
