"""Metrics of whole lists: what is shown, whether it is relevant or not; and rows as ranked lists.

Legend: N rows, R requests, K positions, I items of the catalogue, D dimension. ``top_RK`` holds the first items of each
list, padded with -1 where fewer are shown; a list without an item has no value (NaN). Arrays or tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from roilake.metrics.arrays import Array, counts, filled, floats, namespace, sums
from roilake.metrics.ranking import NEVER, Ranks
from roilake.metrics.registry import Metric


@dataclass(frozen=True)
class Catalogue:
    """What is known of the items: events before the window [I], and interest vectors [I, D] (zeros: none). ``total``
    is the sum of events + 1 over the whole catalogue and ``count`` its number of items: these rows may be only some of
    it, and some may be no items."""

    events_I: Array
    vectors_ID: Array
    total: float
    count: int


@dataclass(frozen=True)
class Lists:
    """Rows in any order as the ranked lists of ``num`` requests: of each row [N] the request, its rank there (``NEVER``
    of a relevant item that is not shown), the item, and whether that is relevant."""

    request_N: Array
    rank_N: Array
    item_N: Array
    relevant_N: Array
    num: int

    @cached_property
    def ranks(self) -> Ranks:
        """Those of the relevant items."""
        return Ranks.of(self.rank_N[self.relevant_N], self.request_N[self.relevant_N], self.num)

    def top(self, k: int) -> Array:
        """The first k items of each request [R, K]; K is k, or the length of the longest list."""
        ranked_N = self.rank_N[self.rank_N != NEVER]
        k = min(k, int(ranked_N.max()) if len(ranked_N) else 1)
        shown = self.rank_N <= k
        top_RK = filled((self.num, k), -1, self.item_N)
        top_RK[self.request_N[shown], self.rank_N[shown] - 1] = self.item_N[shown]
        return top_RK

    def values(self, metric: Metric, k: int | None, catalogue: Catalogue | None) -> tuple[Array, Array]:
        """A metric of ranks or lists by request [R], and what the sum of that is divided by: 1 of each request, for
        popularity bias the mean events of its relevant items (NaN without one)."""
        if metric.inputs == "ranks":
            values_R = metric.compute(self.ranks, k)
        else:
            values_R = metric.compute(self.top(k or 1), catalogue)
        if catalogue is None or metric.name != "popularity_bias":
            return values_R, namespace(values_R).ones_like(values_R)
        events_P = catalogue.events_I[self.item_N[self.relevant_N]]
        total_R = sums(self.request_N[self.relevant_N], events_P, self.num)
        return values_R, _over(total_R, counts(self.request_N[self.relevant_N], self.num))


def novelty(top_RK: Array, catalogue: Catalogue) -> Array:
    """Mean self-information of the list's items [R] (Vargas and Castells 2011, RecSys): -log2 p_i with p_i =
    (events_i + 1) / (sum of events + I), each item counted once more so that one without an event has a value."""
    events_I = floats(catalogue.events_I)
    return _mean_of_items(-namespace(events_I).log2((events_I + 1) / catalogue.total), top_RK)


def novelty_unsmoothed(top_RK: Array, catalogue: Catalogue) -> Array:
    """The same with p_i = events_i / sum of events; items without an event are left out of the mean."""
    xp, events_I = namespace(top_RK), floats(catalogue.events_I)
    share_I = events_I / max(catalogue.total - catalogue.count, 1e-300)
    seen_RK = (top_RK >= 0) & (events_I > 0)[xp.where(top_RK >= 0, top_RK, 0)]
    return _mean_of_items(-xp.log2(xp.where(share_I > 0, share_I, 1.0)), xp.where(seen_RK, top_RK, -1))


def popularity(top_RK: Array, catalogue: Catalogue) -> Array:
    """Mean events of the list's items [R]: popularity bias is that over the mean events of what was chosen."""
    return _mean_of_items(catalogue.events_I, top_RK)


def _mean_of_items(values_I: Array, top_RK: Array) -> Array:
    """Mean over the list's items of a value of each [R]."""
    shown_RK = floats(top_RK >= 0)
    total_R = (values_I[namespace(top_RK).where(top_RK >= 0, top_RK, 0)] * shown_RK).sum(1)
    return _over(total_R, shown_RK.sum(1))


def diversity(top_RK: Array, catalogue: Catalogue) -> Array:
    """1 - mean cosine over the pairs of the list's items [R] (Ziegler et al. 2005, intra-list similarity) of their
    interest vectors; an item without a vector (all zeros) has cosine 0 with any. NaN for fewer than two items."""
    vectors_ID = floats(catalogue.vectors_ID)
    length_I = (vectors_ID**2).sum(1) ** 0.5
    unit_ID = vectors_ID / (length_I + (length_I == 0))[:, None]
    sum_RD, squares_R, count_R = 0.0, 0.0, 0.0
    for items_R in top_RK.T:  # one column at a time: [R, K, D] would not fit
        shown_R = floats(items_R >= 0)
        part_RD = unit_ID[namespace(items_R).where(items_R >= 0, items_R, 0)] * shown_R[:, None]
        sum_RD, squares_R, count_R = sum_RD + part_RD, squares_R + (part_RD**2).sum(1), count_R + shown_R
    pairs_R: Any = count_R * (count_R - 1)
    both_R: Any = sum_RD
    return 1 - _over((both_R**2).sum(1) - squares_R, pairs_R)


def _over(top_R: Array, bottom_R: Array) -> Array:
    """Quotient; NaN where the bottom is 0."""
    return namespace(top_R).where(bottom_R > 0, top_R / (bottom_R + (bottom_R <= 0)), float("nan"))
