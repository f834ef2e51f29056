"""The items that a step's softmax runs over: drawn by keyed hash, so equal on every rank and after a resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import uniform
from roilake.training.losses import NEVER

POPULARITY_EXPONENT = 0.75


@dataclass(frozen=True)
class CandidateSampler:
    """Candidates of one window: all N items when there are no more than n, else a Poisson sample of about n of them.

    Item i is taken on its own with probability pi_i = min(1, n (1/2 1/N + 1/2 pop_i^0.75 / sum_j pop_j^0.75)), with
    pop_i its number of events before the window. Its score gets the offset -log pi_i (the logQ correction), so the
    sum over candidates of e^(s_c - log pi_c) has the expectation of the full softmax's sum over all items.
    Items not seen before the window are candidates too: some of the next positives are among them.
    """

    probability_N: NDArray[np.float64]

    @classmethod
    def of(cls, events_N: NDArray[np.int64], count: int) -> CandidateSampler:
        """From the number of events of each item before the window."""
        if len(events_N) <= count:
            return cls(np.ones(len(events_N)))
        popularity_N = events_N.astype(np.float64) ** POPULARITY_EXPONENT
        share_N = 0.5 / len(events_N) + 0.5 * popularity_N / max(popularity_N.sum(), 1.0)
        return cls(np.minimum(count * share_N, 1.0))

    def draw(self, seed: int, epoch: int, step: int) -> NDArray[np.int64]:
        """Ids of the candidates of a step, ascending."""
        items_N = np.arange(len(self.probability_N), dtype=np.int64)
        return np.flatnonzero(uniform(seed, epoch, step, items_N) < self.probability_N)

    def offset(self, item_I: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float32]:
        """-log pi of items that were drawn, ``NEVER`` for the others."""
        logq_I = -np.log(self.probability_N[item_I])
        return np.where(np.isin(item_I, drawn), logq_I, NEVER).astype(np.float32)
