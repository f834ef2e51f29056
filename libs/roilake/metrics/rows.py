"""Every metric of labelled rows held in memory: numpy arrays, or torch tensors on whatever device they lie.

Legend: N rows, R requests, U users, I items, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, filled, floats, host, integers, namespace
from roilake.metrics.classification import Floats, Labelled, checked, checked_probabilities
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.lists import Catalogue, Lists
from roilake.metrics.observed import observe_coverage, observe_quotient, observe_sums
from roilake.metrics.ranking import ranks_by_score, refuse_duplicates
from roilake.metrics.registry import kind_of, parse


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
    """Checked rows: ``users`` are the distinct ones [U], ``user_N`` and ``request_N`` number them from 0. Requests and
    items are None where they are missing."""

    data: Labelled
    users: np.ndarray
    user_N: Array
    request_N: Array
    item_N: Array

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
        (metric, k), users = parse(name), len(self.users)
        if metric.inputs == "scores":
            return metric.compute(self.data, self.user_N, users)
        if metric.inputs == "probabilities":
            data = checked_probabilities(self.data.labels, self.data.scores, self.data.weights)
            return observe_sums(metric.compute, data, self.user_N, users)
        if self.request_N is None or self.item_N is None:
            raise MetricError(f"{name} needs requests and items")
        lists, user_R, weight_R = self._lists
        if metric.inputs == "lists":
            self._check_catalogue(name, events, vectors)
        if metric.name == "coverage":
            top_RK = host(lists.top(k or 1))
            row, position = np.nonzero((top_RK >= 0) & (weight_R > 0)[:, None])
            return observe_coverage(top_RK[row, position], user_R[row], users, len(events))
        catalogue = Catalogue(*(None if each is None else floats(each, self.item_N) for each in (events, vectors)))
        values_R, bottoms_R = map(host, lists.values(metric, k, catalogue))
        return observe_quotient(values_R, bottoms_R, user_R, users, weight_R)

    @cached_property
    def _lists(self) -> tuple[Lists, np.ndarray, Floats]:
        """The rows as lists, and the user and the weight of each [R]."""
        refuse_duplicates(self.request_N, self.item_N)
        num = int(self.request_N.max()) + 1 if len(self.request_N) else 0
        user_R, weight_R = self._one_each(self.user_N, num, "user"), self._one_each(self.data.weights, num, "weight")
        rank_N = ranks_by_score(self.request_N, self.data.scores, self.item_N)
        lists = Lists(self.request_N, rank_N, self.item_N, self.data.labels == 1, num)
        return lists, host(user_R), host(weight_R)

    def _one_each(self, column_N: Array, num: int, what: str) -> Array:
        """The value of each request [R]. MetricError when its rows differ."""
        value_R = filled((num,), 0, column_N)
        value_R[self.request_N] = column_N
        if (value_R[self.request_N] != column_N).any():
            raise MetricError(f"rows of a request differ in their {what}: a request has one")
        return value_R

    def _check_catalogue(self, name: str, events: Any, vectors: Any) -> None:
        """MetricError without what the metric of this name needs of the catalogue."""
        needed, column = ("vectors", vectors) if kind_of(name) == "diversity" else ("events", events)
        if column is None:
            raise MetricError(f"{name} needs {needed} of the catalogue")
        largest = int(self.item_N.max()) if len(self.item_N) else -1
        if largest >= len(column):
            raise MetricError(f"item {largest} is not in the catalogue of {len(column)} items")
