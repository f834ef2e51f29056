"""The items that a step's softmax runs over: drawn by keyed hash, so equal on every rank and after a resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roilake.evaluation.draws import uniform
from roilake.training.losses import NEVER

POPULARITY_EXPONENT = 0.75


@dataclass(frozen=True)
class CandidateSampler:
    """Candidates of one window, out of the items that an event before the window touches.

    Item i is expected E_i = n (1/2 1/N + 1/2 pop_i^0.75 / sum_j pop_j^0.75) times, with n the number asked for, N the
    number of seen items and pop_i the degree of i; an unseen item has only the uniform part, for it may be a positive.
    A draw takes each seen item on its own with probability pi_i = min(1, E_i) (Poisson sampling), or all of them when
    there are no more than n. With the strength q of the correction (``training.logq``), a sampled softmax uses

        positive p:   s_p - q log E_p
        candidate c:  s_c - q log E_c + log(E_c / pi_c)

    where the last term puts right that c can be drawn only once: the sum over candidates has the same expectation,
    sum_c E_c^(1-q) e^{s_c}, in every case, so that q keeps its meaning from few items to many. While E_c < 1 this is
    the usual s_c - q log E_c.
    """

    expected_N: NDArray[np.float64]
    probability_N: NDArray[np.float64]  # 0 for unseen items

    @classmethod
    def of(cls, degree_N: NDArray[np.int64], count: int) -> CandidateSampler:
        """From the degree of each item before the window. If there is none with a degree, all items are seen."""
        seen_N = degree_N > 0 if (degree_N > 0).any() else np.ones_like(degree_N, bool)
        popularity_N = np.maximum(degree_N, 0).astype(np.float64) ** POPULARITY_EXPONENT
        popular_N = popularity_N / max(popularity_N.sum(), 1.0)
        expected_N = count * (0.5 / max(seen_N.sum(), 1) + 0.5 * popular_N)
        chance_N = np.minimum(expected_N, 1.0) if seen_N.sum() > count else np.ones(len(expected_N))
        return cls(expected_N, np.where(seen_N, chance_N, 0.0))

    def draw(self, seed: int, epoch: int, step: int) -> NDArray[np.int64]:
        """Ids of the candidates of a step, ascending."""
        items_N = np.arange(len(self.probability_N), dtype=np.int64)
        return np.flatnonzero(uniform(seed, epoch, step, items_N) < self.probability_N)

    def positive_offset(self, item_I: NDArray[np.int64], logq: float) -> NDArray[np.float32]:
        """What is added to the score of an item as a positive."""
        return (-logq * np.log(self.expected_N[item_I])).astype(np.float32)

    def candidate_offset(self, item_I: NDArray[np.int64], drawn: NDArray[np.int64], logq: float) -> NDArray[np.float32]:
        """What is added to the score of an item as a candidate; ``NEVER`` for items that were not drawn."""
        expected_I, probability_I = self.expected_N[item_I], self.probability_N[item_I]
        drawn_I = np.isin(item_I, drawn)
        with np.errstate(divide="ignore"):
            offset_I = (1.0 - logq) * np.log(expected_I) - np.log(probability_I)
        return np.where(drawn_I, offset_I, NEVER).astype(np.float32)
