"""Matrix factorisation with Bayesian personalised ranking (Rendle et al., UAI 2009), by the library `implicit`."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.cpu.bpr import BayesianPersonalizedRanking
from pydantic import Field

from roilake.pipelines.retrieval.models.matrix import Factors, Fitted, MatrixModel, MatrixOptions, Progress
from roilake.pipelines.retrieval.models.sparse import Floats, degrees, power, scaled

RIDGE = 0.01
"""Of W, in parts of the mean square that it is added to."""


class Options(MatrixOptions):
    """``dim`` factors beside an item bias; an epoch draws as many pairs as the matrix has ones."""

    dim: int = Field(64, ge=1)
    epochs: int = Field(50, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    penalty: float = Field(0.03, ge=0)
    popularity: float = Field(1.0, ge=0)


class Model(MatrixModel):
    """score(u, i) = <p_u, q_i> + b_i + popularity ln n_i, by stochastic ascent on the sum over (u, i seen, j not) of

        ln sigmoid(<p_u, q_i> + b_i - <p_u, q_j> - b_j)
        - penalty (|p_u|^2 + |q_i|^2 + |q_j|^2 + b_i^2 + b_j^2)

    `implicit` draws j in proportion to its number of users n_j, not uniformly as Rendle does: the best <p_u, q_i> + b_i
    is then ln P(i | u) - ln n_i up to a constant of u. So ln n_i is added again (the logQ correction of sampled losses;
    ours here). Less than all of it may be better, for the penalty keeps the model from learning all that the draw takes
    away, and none where people come back to what they had. Without it the model can rank below popularity.

    A request's user is folded in: with q_h the mean factor of the history's n items and W [D, D] the ridge regression
    of the fitted users' p_u on their own mean factors,

        score(h, i) = n (<W^T q_h, q_i> + b_i + popularity ln n_i),

    n times, which changes no order, so that it is a sum over the history. (Tried beside it, on MovieLens and Foursquare
    by time: the mean factor itself, and p as the ridge regression of 1 on the history's factors; W was best or level.)

    On one thread: with more, `implicit`'s updates race and no two runs are equal."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        """``implicit``'s factors, and the users' counts put back into the items' biases."""
        model = BayesianPersonalizedRanking(
            factors=self.options.dim,
            learning_rate=self.options.learning_rate,
            regularization=self.options.penalty,
            iterations=self.options.epochs,
            verify_negative_samples=True,
            num_threads=1,
            random_state=seed,
        )
        progress(f"bpr_mf: {self.options.epochs} epochs of {seen_UI.nnz:,} pairs")
        model.fit(seen_UI, show_progress=False)
        item_ID = np.array(model.item_factors)
        had_ID = _fold_in(seen_UI, np.array(model.user_factors), item_ID)
        _, users_I = degrees(seen_UI)
        # The last factor is the bias; the users' there is 1.
        item_ID[:, -1] += self.options.popularity * np.log(np.maximum(users_I, 0.5))
        return Factors(had_ID, item_ID)


def _fold_in(seen_UI: sp.csr_matrix, user_UD: Floats, item_ID: Floats) -> Floats:
    """Q~ W [I, D], with a last column of 1 for the bias."""
    user_U, item_I = degrees(seen_UI)
    mean_UD = (scaled(power(user_U, -1.0), seen_UI, np.ones_like(item_I)) @ item_ID[:, :-1])[user_U > 0]
    gram_DD = mean_UD.T.astype(np.float64) @ mean_UD
    gram_DD += RIDGE * gram_DD.diagonal().mean() * np.eye(len(gram_DD))
    map_DD = np.linalg.solve(gram_DD, mean_UD.T @ user_UD[user_U > 0, :-1])
    return np.c_[item_ID[:, :-1] @ map_DD, np.ones(len(item_ID))].astype(np.float32)
