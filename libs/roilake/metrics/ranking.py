"""Ranking metrics from the ranks of the relevant items of each request; one value per request, float64 [R]. And the
negatives of a request, drawn by keyed hash.

Input: ``ranks_P`` (1 = best; ``NEVER`` for an item that is never shown), ``request_P`` (index of the request
of each relevant item, 0..R-1) and ``num_requests`` R; arrays or tensors. Relevance is binary. A request without
a relevant item has no value: NaN, left out of means. A rank below 1, a request index outside 0..R-1, or one rank taken
twice in a request (a duplicated candidate) raises MetricError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.hashing import uniform
from roilake.metrics.arrays import Array, counts, floats, integers, namespace, order, sums
from roilake.metrics.ids import Ids

NEVER = int(np.iinfo(np.int64).max)
"""Rank of an item that is never shown (masked, or not a candidate)."""
ATTEMPTS = 64


@dataclass(frozen=True)
class Ranks:
    """Checked ranks, sorted by (request, rank); ``position_P`` is 1, 2, ... within each request."""

    rank_P: Array
    request_P: Array
    position_P: Array
    relevant_R: Array

    @classmethod
    def of(cls, ranks: Any, requests: Any, num_requests: int) -> Ranks:
        """Sort and check; see the module's text for what is refused."""
        rank, request = integers(ranks, requests), integers(requests, ranks)
        if rank.shape != request.shape or rank.ndim != 1:
            raise MetricError(
                f"ranks {tuple(rank.shape)} and requests {tuple(request.shape)} must be equally long lists"
            )
        if len(rank) and (rank.min() < 1 or request.min() < 0 or request.max() >= num_requests):
            raise MetricError(f"ranks start at 1 and requests lie in 0..{num_requests - 1}")
        index = _sorted(request, rank)
        rank, request = rank[index], request[index]
        twice = (rank[1:] == rank[:-1]) & (request[1:] == request[:-1]) & (rank[1:] != NEVER)
        if twice.any():
            row = int(twice.nonzero()[0].ravel()[0])
            raise MetricError(f"request {request[row]} has rank {rank[row]} twice: a candidate is duplicated")
        relevant = counts(request, num_requests)
        return cls(rank, request, positions_within(request, relevant), relevant)

    def _sum(self, values_P: Array) -> Array:
        return sums(self.request_P, values_P, len(self.relevant_R))

    def _where_relevant(self, values_R: Array) -> Array:
        return namespace(values_R).where(self.relevant_R > 0, values_R, float("nan"))

    def hits(self, k: int) -> Array:
        """Number of relevant items at rank k or better, by request."""
        return self._sum(floats(self.rank_P <= _bound(k)))

    def hit_rate(self, k: int) -> Array:
        """1 where any relevant item is within the first k."""
        return self._where_relevant(floats(self.hits(k) > 0))

    def recall(self, k: int) -> Array:
        """Hits over the number of relevant items."""
        return self._where_relevant(self.hits(k) / namespace(self.rank_P).clip(self.relevant_R, 1, NEVER))

    def recall_capped(self, k: int) -> Array:
        """Hits over min(k, relevant), so that 1 can be reached (Liang et al. 2018, WWW)."""
        return self._where_relevant(self.hits(k) / namespace(self.rank_P).clip(self.relevant_R, 1, _bound(k)))

    def precision(self, k: int) -> Array:
        """Hits over k (also where fewer than k items were shown)."""
        return self._where_relevant(self.hits(k) / k)

    def ndcg(self, k: int) -> Array:
        """Sum over hits of 1 / log2(1 + rank), over the same of the best order: ranks 1..min(k, relevant)."""
        xp, shown = namespace(self.rank_P), self.rank_P <= _bound(k)
        gain = xp.where(shown, 1 / xp.log2(1 + floats(xp.where(shown, self.rank_P, 1))), 0.0)
        places_R = xp.clip(self.relevant_R, 1, _bound(k))
        most = int(places_R.max()) if len(places_R) else 0
        best = (1 / xp.log2(floats(np.arange(2, most + 2), gain))).cumsum(0)
        return self._where_relevant(self._sum(gain) / best[places_R - 1])

    def reciprocal_rank(self, k: int | None = None) -> Array:
        """1 / rank of the best relevant item, 0 where that is beyond k."""
        shown = (self.position_P == 1) & (self.rank_P <= _bound(k))
        return self._where_relevant(self._sum(namespace(shown).where(shown, 1 / floats(self.rank_P), 0.0)))

    def average_precision(self, k: int | None = None) -> Array:
        """Sum over hits of (hits so far / rank), over min(k, relevant)."""
        return self._precise(k) / namespace(self.rank_P).clip(self.relevant_R, 1, _bound(k))

    def average_precision_all(self, k: int | None = None) -> Array:
        """The same sum over all relevant, also with k (trec_eval's map_cut)."""
        return self._precise(k) / namespace(self.rank_P).clip(self.relevant_R, 1, NEVER)

    def average_precision_hits(self, k: int | None = None) -> Array:
        """The same sum over the hits, 0 without one (torchmetrics' retrieval_average_precision)."""
        return self._precise(k) / namespace(self.rank_P).clip(self.hits(_bound(k)), 1, NEVER)

    def _precise(self, k: int | None) -> Array:
        """Sum over hits of (hits so far / rank)."""
        precision = self.position_P / floats(self.rank_P)
        return self._where_relevant(self._sum(namespace(precision).where(self.rank_P <= _bound(k), precision, 0.0)))


def or_0(of: Callable[..., Array]) -> Callable[..., Array]:
    """A metric of ``Ranks`` that is 0 where a request has no relevant item, and so counts it."""

    def values(ranks: Ranks, k: int | None = None) -> Array:
        values_R = of(ranks, k)
        return namespace(values_R).where(ranks.relevant_R > 0, values_R, 0.0)

    return values


success_or_0, recall_or_0, precision_or_0, ndcg_or_0, reciprocal_rank_or_0, average_precision_or_0 = map(
    or_0, (Ranks.hit_rate, Ranks.recall, Ranks.precision, Ranks.ndcg, Ranks.reciprocal_rank, Ranks.average_precision)
)


def _bound(k: int | None) -> int:
    """The last rank that counts. MetricError for k below 1."""
    if k is not None and k < 1:
        raise MetricError(f"k must be at least 1, not {k}")
    return NEVER - 1 if k is None else min(k, NEVER - 1)


def positions_within(request_P: Array, sizes_R: Array) -> Array:
    """1, 2, ... within each request, where rows are sorted by request."""
    first_R = sizes_R.cumsum(0) - sizes_R
    return integers(namespace(request_P).ones_like(request_P)).cumsum(0) - first_R[request_P]


def _sorted(*keys_N: Array) -> Array:
    """Indices [N] that sort rows by the first key, then by the second, ..."""
    index = order(keys_N[-1])
    for key_N in keys_N[-2::-1]:
        index = index[order(key_N[index])]
    return index


def ranks_by_score(request_N: Array, score_N: Array, item_N: Array) -> Array:
    """Rank [N] of each row in its request's list: higher score first, ties by lower item."""
    index = _sorted(request_N, -score_N, item_N)
    request = request_N[index]
    rank_N = namespace(index).empty_like(index)
    rank_N[index] = positions_within(request, counts(request, int(request[-1]) + 1 if len(request) else 0))
    return rank_N


def refuse_duplicates(requests: Ids, items: Ids) -> None:
    """MetricError when a request has an item twice."""
    index = _sorted(requests.code_N, items.code_N)
    request_N, item_N = requests.code_N[index], items.code_N[index]
    twice = (request_N[1:] == request_N[:-1]) & (item_N[1:] == item_N[:-1])
    if twice.any():
        row = int(twice.nonzero()[0].ravel()[0])
        request, item = requests.plain[int(request_N[row])], items.plain[int(item_N[row])]
        raise MetricError(f"request {request!r} has item {item!r} twice: a candidate is duplicated")


def ranks_among_negatives(ranks: Ranks) -> Array:
    """Rank of each relevant item [P] when the other relevant ones of its request are taken out of the list (order of
    ``ranks.rank_P``): with it, hit rate at k is a mean over relevant items, as in leave-one-out protocols."""
    shown = ranks.rank_P != NEVER
    return namespace(shown).where(shown, ranks.rank_P - (ranks.position_P - 1), NEVER)


Excluded = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Of pairs of a row and an item, which are not to be drawn."""


def draw_negatives(
    seed: int,
    request_B: NDArray[np.int64],
    positives_BP: NDArray[np.int32],
    weight_I: NDArray[np.float64],
    count: int,
    excluded: Excluded | None = None,
) -> NDArray[np.int64]:
    """``count`` items for each of B requests [B, N], drawn with replacement with probability proportional to
    ``weight_I``; see ``draw`` for what is not drawn."""
    bounds_I = np.cumsum(weight_I)
    if not len(bounds_I) or bounds_I[-1] <= 0:
        return np.full((len(request_B), count), -1, np.int64)

    def pick(_: NDArray[np.int64], chance_D: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.minimum(np.searchsorted(bounds_I, chance_D * bounds_I[-1], "right"), len(bounds_I) - 1)

    return draw(seed, request_B, positives_BP, count, pick, excluded)


def draw(
    seed: int,
    request_B: NDArray[np.int64],
    positives_BP: NDArray[np.int32],
    count: int,
    pick: Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.int64]],
    excluded: Excluded | None = None,
) -> NDArray[np.int64]:
    """``count`` items for each of B requests [B, N], with replacement, as ``pick`` gives them of rows and numbers
    drawn from [0, 1). The request's P positives (-1 padded), and what is ``excluded``, are drawn again. What hits them
    in all of its 64 attempts stays -1: there is next to nothing else."""
    result_BN = np.full((len(request_B), count), -1, np.int64)
    for attempt in range(ATTEMPTS):
        row, index = np.nonzero(result_BN < 0)
        if not len(row):
            break
        item = pick(row, uniform(seed, request_B[row], index, attempt))
        fresh = (positives_BP[row] != item[:, None]).all(axis=1)
        if excluded is not None:
            fresh &= ~excluded(row, item)
        result_BN[row[fresh], index[fresh]] = item[fresh]
    return result_BN
