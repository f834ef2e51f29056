"""Random walks with restart over users and items, from all items of a history (Eksombatchai et al., WWW 2018, "Pixie";
Paudel et al., TiiS 2017, "RP3beta", for the popularity discount)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from roilake.pipelines.retrieval.models.matrix import Fitted, ItemMap, MatrixModel, MatrixOptions, Progress
from roilake.pipelines.retrieval.models.sparse import BLOCK, best_of_rows, degrees, power, scaled


class Options(MatrixOptions):
    """A walk goes on with probability ``1 - restart`` after each step item-user-item, at most ``steps`` of them; of
    the items met from one item the ``keep`` most visited count; ``discount`` is beta."""

    steps: int = Field(1, ge=1)
    restart: float = Field(0.5, ge=0, lt=1)
    discount: float = Field(0.3, ge=0)
    keep: int = Field(1000, ge=1)


class Model(MatrixModel):
    """No walk is drawn: the visit probabilities are sparse products. With M = D_I^-1 R^T D_U^-1 R [I, I], the chance to
    come from one item to another by one of its users, and n the number of users of an item,

        V_1 = top(M),  V_t = top(V_1 + (1 - restart) V_(t-1) V_1)
        score(h, .) = h V_steps diag(n^-discount)

    top keeps the ``keep`` largest entries of each row (PinSage's neighbourhood: the most visited), so with one step the
    probabilities are exact, with more they are those of walks along kept neighbours."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        user_U, item_I = degrees(seen_UI)
        back_IU = scaled(power(item_I, -1.0), seen_UI.T.tocsr(), np.ones_like(user_U))
        forth_UI = scaled(power(user_U, -1.0), seen_UI, np.ones_like(item_I))
        once_II = self._top_of_product(back_IU, forth_UI)
        visits_II = once_II
        for step in range(1, self.options.steps):
            progress(f"random_walk: step {step}, {visits_II.nnz:,} pairs of items")
            on = (1 - self.options.restart) * visits_II
            visits_II = best_of_rows((once_II + self._top_of_product(on, once_II)).tocsr(), self.options.keep)
        return ItemMap(scaled(np.ones_like(item_I), visits_II, power(item_I, -self.options.discount)))

    def _top_of_product(self, left: sp.csr_matrix, right: sp.csr_matrix) -> sp.csr_matrix:
        rows = range(0, left.shape[0], BLOCK)
        blocks = [best_of_rows((left[a : a + BLOCK] @ right).tocsr(), self.options.keep) for a in rows]
        return sp.vstack(blocks, format="csr")
