"""The items that a step's softmax runs over: drawn by keyed hash, so equal on every rank and after a resume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import uniform
from roilake.pipelines.retrieval.training.losses import NEVER

POPULARITY_EXPONENT = 0.75


@dataclass(frozen=True)
class CandidateSampler:
    """Candidates of one window: all N items when there are no more than n, else a Poisson sample of about n of them.

    Item i is taken on its own with probability pi_i = min(1, n (1/2 1/N + 1/2 pop_i^0.75 / sum_j pop_j^0.75)), with
    pop_i its number of events before the window. Its score gets the offset -log pi_i (the logQ correction), so the
    sum over candidates of e^(s_c - log pi_c) has the expectation of the full softmax's sum over all items.
    Items not seen before the window are candidates too: some of the next positives are among them.

    Items lie in strata by 2^-(j+1) <= pi <= 2^-j = b. A draw takes each item of a stratum with b, by the gaps between
    those taken, which are geometric, and keeps item i of them with pi_i / b >= 1/2: it handles 2n items at most or so.
    """

    probability_N: NDArray[np.float64]
    order_N: NDArray[np.int64]  # items, stratum by stratum
    bounds: tuple[int, ...]  # stratum j lies at bounds[j] .. bounds[j+1] of them

    @classmethod
    def of(cls, events_N: NDArray[np.int64], count: int, known_N: NDArray[np.bool_] | None = None) -> CandidateSampler:
        """From the number of events of each item before the window. Numbers that are no items of the night (not in
        ``known_N``; default: all are) have pi = 0."""
        known_N = np.ones(len(events_N), bool) if known_N is None else known_N
        items = np.count_nonzero(known_N)
        popularity_N = events_N.astype(np.float64) ** POPULARITY_EXPONENT
        share_N = 0.5 / max(items, 1) + 0.5 * popularity_N / max(popularity_N.sum(), 1.0)
        probability_N = np.minimum(count * share_N, 1.0) * known_N if items > count else known_N.astype(np.float64)
        stratum_N = np.maximum(-np.frexp(probability_N)[1], 0)
        order_N = np.argsort(stratum_N, kind="stable")
        bounds = np.searchsorted(stratum_N[order_N], np.arange(stratum_N.max(initial=0) + 2))
        return cls(probability_N, order_N, tuple(bounds.tolist()))

    def draw(self, seed: int, epoch: int, step: int) -> NDArray[np.int64]:
        """Ids of the candidates of a step, ascending."""
        strata = range(len(self.bounds) - 1)
        return np.sort(np.concatenate([self._draw_stratum(j, (seed, epoch, step, j)) for j in strata]))

    def _draw_stratum(self, stratum: int, keys: tuple[int, ...]) -> NDArray[np.int64]:
        start, end = self.bounds[stratum : stratum + 2]
        bound = 2.0**-stratum
        position = _positions(end - start, bound, keys)
        item = self.order_N[start + position]
        return item[uniform(*keys, 1, position) * bound < self.probability_N[item]]

    def offset(self, item_I: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float32]:
        """-log pi of items that were drawn, ``NEVER`` for the others."""
        logq_I = -np.log(self.probability_N[item_I])
        return np.where(np.isin(item_I, drawn), logq_I, NEVER).astype(np.float32)


def _positions(count: int, probability: float, keys: tuple[int, ...]) -> NDArray[np.int64]:
    """Each of the positions 0 .. count - 1 on its own with this probability."""
    mean = count * probability
    chunk = int(mean + 4 * math.sqrt(mean)) + 8  # once in 30,000 times it needs a second one
    log_left = math.log1p(-probability) if probability < 1 else -math.inf
    position_G = np.empty(0, np.int64)
    while not len(position_G) or position_G[-1] < count:
        number_G = np.arange(len(position_G), len(position_G) + chunk)
        gap_G = np.floor(np.log1p(-uniform(*keys, 0, number_G)) / log_left).astype(np.int64) + 1
        position_G = np.append(position_G, (position_G[-1] if len(position_G) else -1) + np.cumsum(gap_G))
    return position_G[position_G < count]
