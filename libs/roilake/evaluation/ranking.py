"""Ranking metrics from the ranks of the relevant items of each request; one value per request, float64 [R].

Input: ``ranks_P`` (1 = best; ``NEVER`` for an item that is never shown), ``request_P`` (index of the request
of each relevant item, 0..R-1) and ``num_requests`` R. Relevance is binary. A request without a relevant item
has no value: NaN, left out of means. A rank below 1, a request index outside 0..R-1, or one rank taken twice
in a request (a duplicated candidate) raises MetricError.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roilake.errors import MetricError
from roilake.evaluation.metrics import Floats

NEVER = np.iinfo(np.int64).max
"""Rank of an item that is never shown (masked, or not a candidate)."""


@dataclass(frozen=True)
class Ranks:
    """Checked ranks, sorted by (request, rank); ``place_P`` is 1, 2, ... within each request."""

    rank_P: NDArray[np.int64]
    request_P: NDArray[np.int64]
    place_P: NDArray[np.int64]
    relevant_R: NDArray[np.int64]

    @classmethod
    def of(cls, ranks: ArrayLike, requests: ArrayLike, num_requests: int) -> Ranks:
        """Sort and check; see the module's text for what is refused."""
        rank, request = np.asarray(ranks, np.int64), np.asarray(requests, np.int64)
        if rank.shape != request.shape or rank.ndim != 1:
            raise MetricError(f"ranks {rank.shape} and requests {request.shape} must be equally long lists")
        if len(rank) and (rank.min() < 1 or request.min() < 0 or request.max() >= num_requests):
            raise MetricError(f"ranks start at 1 and requests lie in 0..{num_requests - 1}")
        order = np.lexsort((rank, request))
        rank, request = rank[order], request[order]
        twice = (rank[1:] == rank[:-1]) & (request[1:] == request[:-1]) & (rank[1:] != NEVER)
        if twice.any():
            row = int(np.argmax(twice))
            raise MetricError(f"request {request[row]} has rank {rank[row]} twice: a candidate is duplicated")
        relevant = np.bincount(request, minlength=num_requests).astype(np.int64)
        first = np.cumsum(relevant) - relevant
        return cls(rank, request, np.arange(len(rank)) - first[request] + 1, relevant)

    def _sum(self, values_P: Floats) -> Floats:
        return np.bincount(self.request_P, values_P, len(self.relevant_R)).astype(np.float64)

    def _where_relevant(self, values_R: Floats) -> Floats:
        return np.where(self.relevant_R > 0, values_R, np.nan)

    def hits(self, k: int) -> Floats:
        """Number of relevant items at rank k or better, by request."""
        if k < 1:
            raise MetricError(f"k must be at least 1, not {k}")
        return self._sum((self.rank_P <= k).astype(np.float64))

    def hit_rate(self, k: int) -> Floats:
        """1 where any relevant item is within the first k."""
        return self._where_relevant((self.hits(k) > 0).astype(np.float64))

    def recall(self, k: int) -> Floats:
        """Hits over the number of relevant items."""
        return self._where_relevant(self.hits(k) / np.maximum(self.relevant_R, 1))

    def precision(self, k: int) -> Floats:
        """Hits over k (also where fewer than k items were shown)."""
        return self._where_relevant(self.hits(k) / k)

    def ndcg(self, k: int) -> Floats:
        """Sum over hits of 1 / log2(1 + rank), over the same of the best order: ranks 1..min(k, relevant)."""
        self.hits(k)
        gain = np.where(self.rank_P <= k, 1 / np.log2(1 + np.minimum(self.rank_P, 1 << 60)), 0.0)
        best = np.cumsum(np.r_[0.0, 1 / np.log2(np.arange(2, k + 2))])
        return self._where_relevant(self._sum(gain) / best[np.clip(self.relevant_R, 1, k)])

    def reciprocal_rank(self, k: int | None = None) -> Floats:
        """1 / rank of the best relevant item, 0 where that is beyond k."""
        shown = (self.place_P == 1) & (self.rank_P <= (NEVER - 1 if k is None else k))
        return self._where_relevant(self._sum(np.where(shown, 1 / self.rank_P, 0.0)))

    def average_precision(self, k: int | None = None) -> Floats:
        """Sum over hits of (hits so far / rank), over min(k, relevant)."""
        bound = NEVER - 1 if k is None else k
        precision = np.where(self.rank_P <= bound, self.place_P / self.rank_P, 0.0)
        return self._where_relevant(self._sum(precision) / np.clip(self.relevant_R, 1, bound))


def ranks_among_negatives(ranks: Ranks) -> NDArray[np.int64]:
    """Rank of each relevant item [P] when the other relevant ones of its request are taken out of the list
    (order of ``ranks.rank_P``): with it, hit rate at k is a mean over relevant items, as in leave-one-out
    protocols."""
    return np.where(ranks.rank_P == NEVER, NEVER, ranks.rank_P - (ranks.place_P - 1))
