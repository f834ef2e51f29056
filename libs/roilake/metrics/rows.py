"""Every metric of labelled rows held in memory: numpy arrays, or torch tensors on whatever device they lie.

Legend: N rows, R requests, U users, I items, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, counts, filled, floats, host, integers, namespace
from roilake.metrics.classification import Floats, Labelled, checked, checked_probabilities
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.lists import Catalogue, top_lists
from roilake.metrics.observed import observe_coverage, observe_mean, observe_quotient, observe_sums
from roilake.metrics.ranking import Ranks, ranks_by_score, refuse_duplicates
from roilake.metrics.registry import Metric, parse


def measure_arrays(
    labels: Any,
    scores: Any,
    metrics: Sequence[str],
    *,
    others: Any = None,
    weights: Any = None,
    users: Any = None,
    requests: Any = None,
    items: Any = None,
    events: Any = None,
    vectors: Any = None,
    draws: int = 200,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Metrics by name (``roilake.metrics.registry``), each with n and a 95 % interval over users.

    Args:
        labels, scores: [N]; 0 or 1, and finite (for metrics of probabilities in [0, 1]).
        others: scores of a second model [N]; then values are differences, ``scores`` minus ``others``, paired.
        weights: [N], not negative, default 1: a row of weight 2 counts as two. All rows of a request carry the same
            weight, which for metrics of rankings and lists is how often the request counts.
        users, requests, items: integers [N]. Without users each request is its own, without requests each row.
            Ranking metrics need requests and items; the order is by score, ties by lower item.
        events, vectors: [I] and [I, D] by item: the catalogue, for metrics of whole lists.

    K above the number of a request's rows takes the list as it is; precision still divides by K. What is undefined is
    NaN. MetricError for an unknown name, missing columns, bad values, or a request with an item twice."""
    rows = _Rows.of(labels, scores, weights, users, requests, items)
    found = {name: rows.observe(name, events, vectors) for name in metrics}
    if others is not None:
        theirs = _Rows.of(labels, others, weights, users, requests, items)
        found = {name: ours.minus(theirs.observe(name, events, vectors)) for name, ours in found.items()}  # type: ignore[arg-type]
    drawn = Draws(rows.users, draws, seed)
    return {name: observed.estimate(drawn) for name, observed in found.items()}


@dataclass(frozen=True)
class _Rows:
    """Checked rows: ``users`` are the distinct ones [U], ``user_N`` and ``request_N`` number them from 0."""

    data: Labelled
    users: np.ndarray
    user_N: Array
    request_N: Array | None
    item_N: Array | None

    @classmethod
    def of(cls, labels: Any, scores: Any, weights: Any, users: Any, requests: Any, items: Any) -> _Rows:
        """Check the columns [N], those of ids None where they are missing."""
        data = checked(labels, scores, weights)
        xp, like = namespace(data.scores), data.scores
        if users is None:
            users = requests if requests is not None else np.arange(len(data.labels))
        columns = [None if each is None else integers(each, like) for each in (users, requests, items)]
        for name, column in zip(("users", "requests", "items"), columns, strict=True):
            if column is not None and column.shape != data.labels.shape:
                raise MetricError(f"{name} {tuple(column.shape)} must be as long as labels {tuple(like.shape)}")
        found, user_N = xp.unique(columns[0], return_inverse=True)
        request_N = None if columns[1] is None else xp.unique(columns[1], return_inverse=True)[1]
        return cls(data, host(found), user_N, request_N, columns[2])

    def observe(self, name: str, events: Any, vectors: Any) -> Observed:
        """What the metric of this name is computed from. MetricError as in ``measure_arrays``."""
        metric, k = parse(name)
        if metric.inputs == "scores":
            return metric.compute(self.data, self.user_N, len(self.users))
        if metric.inputs == "probabilities":
            data = checked_probabilities(self.data.labels, self.data.scores, self.data.weights)
            return observe_sums(metric.compute, data, self.user_N, len(self.users))
        found = self._lists(name)
        return found.ranked(metric, k) if metric.inputs == "ranks" else found.listed(metric, k or 1, events, vectors)

    def _lists(self, name: str) -> _Lists:
        """The rows as lists. MetricError without requests and items, which the metric ``name`` needs."""
        if self.request_N is None or self.item_N is None:
            raise MetricError(f"{name} needs requests and items")
        refuse_duplicates(self.request_N, self.item_N)
        num = int(self.request_N.max()) + 1 if len(self.request_N) else 0
        owner, weight = (self._one_each(self.user_N, num, "user"), self._one_each(self.data.weights, num, "weight"))
        rank_N = ranks_by_score(self.request_N, self.data.scores, self.item_N)
        positive_N, users = self.data.labels == 1, len(self.users)
        return _Lists(self.request_N, self.item_N, rank_N, positive_N, host(owner), host(weight), users, num)

    def _one_each(self, column_N: Array, num: int, what: str) -> Array:
        """The value of each request [R]. MetricError when its rows differ."""
        value_R = filled((num,), 0, column_N)
        value_R[self.request_N] = column_N
        if (value_R[self.request_N] != column_N).any():
            raise MetricError(f"rows of a request differ in their {what}: a request has one")
        return value_R


@dataclass(frozen=True)
class _Lists:
    """The rows as ranked lists of ``num`` requests, with each request's user and weight."""

    request_N: Array
    item_N: Array
    rank_N: Array
    positive_N: Array
    user_R: np.ndarray
    weight_R: np.ndarray
    users: int
    num: int

    def ranked(self, metric: Metric, k: int | None) -> Observed:
        """A metric of the ranks of the positives."""
        ranks = Ranks.of(self.rank_N[self.positive_N], self.request_N[self.positive_N], self.num)
        return observe_mean(host(metric.compute(ranks, k)), self.user_R, self.users, self.weight_R)

    def listed(self, metric: Metric, k: int, events: Any, vectors: Any) -> Observed:
        """A metric of what the lists show. MetricError without what it needs of the catalogue."""
        item_N = self.item_N
        needed, column = ("vectors", vectors) if metric.name == "diversity" else ("events", events)
        if column is None:
            raise MetricError(f"{metric.name}@{k} needs {needed} of the catalogue")
        if len(item_N) and int(item_N.max()) >= len(column):
            raise MetricError(f"item {int(item_N.max())} is not in the catalogue of {len(column)} items")
        top_RK = top_lists(self.request_N, self.rank_N, item_N, self.num, k)
        if metric.name == "coverage":
            row, position = np.nonzero((host(top_RK) >= 0) & (self.weight_R > 0)[:, None])
            return observe_coverage(host(top_RK)[row, position], self.user_R[row], self.users, len(events))
        known = [None if each is None else floats(each, item_N) for each in (events, vectors)]
        values_R = host(metric.compute(top_RK, Catalogue(*known)))
        if metric.name == "popularity_bias":
            return observe_quotient(values_R, self._chosen(known[0]), self.user_R, self.users, self.weight_R)
        return observe_mean(values_R, self.user_R, self.users, self.weight_R)

    def _chosen(self, events_I: Array) -> Floats:
        """Mean events of the request's positives [R]; NaN without one."""
        request, events_P = self.request_N[self.positive_N], events_I[self.item_N[self.positive_N]]
        total_R = host(namespace(events_I).bincount(request, weights=events_P, minlength=self.num))
        count_R = host(counts(request, self.num))
        return np.where(count_R > 0, total_R / np.maximum(count_R, 1), np.nan)
