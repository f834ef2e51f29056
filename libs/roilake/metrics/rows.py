"""Every metric of labelled rows held in memory: numpy arrays, or torch tensors on whatever device they lie.

Legend: N rows, R requests, U users, I items, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, filled, floats, host, integers, namespace
from roilake.metrics.catalogue import KnownItems
from roilake.metrics.classification import Floats, Labelled, checked, checked_probabilities, refuse
from roilake.metrics.ids import Ids
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.lists import Lists
from roilake.metrics.observed import observe_coverage, observe_quotient, observe_sums
from roilake.metrics.ranking import NEVER, ranks_by_score, refuse_duplicates
from roilake.metrics.registry import distinct, parse


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
    shown: Any = None,
    catalogue: Any = None,
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
        users, requests, items: ids [N] of any hashable type: "01" is not "1", and 1.5 is not 1. A null (None, NaN) is
            refused: leave such rows out, or give them an id. Without users each request is its own, without requests
            each row. Ranking metrics need requests and items; the order is by score, ties by lower item (texts by code
            point).
        shown: [N], default 1: a row with 0 is of an item that was never shown. It is in no list and no metric of
            scores (its own may be NaN), but where it is relevant, it counts as such: recall has it below the line.
        catalogue: ids of all items [I], default 0, 1, ...: of metrics of whole lists. All items of the rows are in it.
        events, vectors: [I] and [I, D] of the catalogue's items, in its order.

    K above the number of a request's rows takes the list as it is; precision still divides by K. A request without a
    relevant item has no value in metrics of rankings, but those named ``_or_0``. What is undefined is NaN. MetricError
    for an unknown name, missing columns, bad values, or a request with an item twice."""
    rows = _Rows.of(labels, scores, weights, users, requests, items, shown)
    if not (catalogue is None and events is None and vectors is None):
        rows = replace(rows, known=KnownItems.of(catalogue, events, vectors, rows.data.scores))
    found = {name: rows.observe(name) for name in distinct(metrics)}
    if others is not None:
        theirs = rows.scored(others)
        found = {name: ours.minus(theirs.observe(name)) for name, ours in found.items()}  # type: ignore[arg-type]
    drawn = Draws(rows.users.keys, draws, seed)
    return {name: observed.estimate(drawn) for name, observed in found.items()}


@dataclass(frozen=True)
class _Rows:
    """Checked rows: their users, requests and items (None where they are missing); ``shown_N`` marks those that were
    shown; ``known`` is the catalogue, if there is one."""

    data: Labelled
    users: Ids
    requests: Ids | None
    items: Ids | None
    shown_N: Array
    known: KnownItems | None = None

    @classmethod
    def of(cls, labels: Any, scores: Any, weights: Any, users: Any, requests: Any, items: Any, shown: Any) -> _Rows:
        """Check the columns [N], those of ids None where they are missing."""
        like = next((each for each in (scores, labels, weights) if namespace(each) is not np), None)
        score_N = floats(scores, like, "scores")
        shown_N = floats(namespace(score_N).ones_like(score_N) if shown is None else shown, score_N, "shown")
        refuse((shown_N != 0) & (shown_N != 1), shown_N, "shown must be 0 or 1")
        data = checked(labels, _where_shown("scores", score_N, shown_N == 1), weights)
        ids = {
            name: _ids(name, column, data)
            for name, column in (("users", users), ("requests", requests), ("items", items))
            if column is not None
        }
        rows = Ids(integers(np.arange(len(data.labels)), data.scores), np.arange(len(data.labels)))
        by_request = ids.get("requests")
        return cls(data, ids.get("users", by_request or rows), by_request, ids.get("items"), shown_N == 1)

    def scored(self, scores: Any) -> _Rows:
        """The same rows with other scores [N]."""
        score_N = _where_shown("others", floats(scores, self.data.scores, "others"), self.shown_N)
        return replace(self, data=checked(self.data.labels, score_N, self.data.weights))

    def observe(self, name: str) -> Observed:
        """What the metric of this name is computed from. MetricError as in ``measure_arrays``."""
        (metric, k), users = parse(name), len(self.users.values)
        if metric.inputs == "scores":
            return metric.compute(self._shown, self.users.code_N[self.shown_N], users)
        if metric.inputs == "probabilities":
            data = self._shown
            data = checked_probabilities(data.labels, data.scores, data.weights)
            return observe_sums(metric.compute, data, self.users.code_N[self.shown_N], users)
        if self.requests is None or self.items is None:
            raise MetricError(f"{name} needs requests and items")
        lists, user_R, weight_R = self._lists
        catalogue = None
        if metric.inputs == "lists":
            if self.known is None:
                raise MetricError(f"{name} needs the catalogue, or its events or vectors")
            catalogue = self.known.of_metric(name, metric, self.items)
        if metric.name == "coverage" and catalogue is not None:
            top_RK = host(lists.top(k or 1))
            row, position = np.nonzero((top_RK >= 0) & (weight_R > 0)[:, None])
            return observe_coverage(top_RK[row, position], user_R[row], users, catalogue.count)
        values_R, bottoms_R = map(host, lists.values(metric, k, catalogue))
        return observe_quotient(values_R, bottoms_R, user_R, users, weight_R)

    @cached_property
    def _shown(self) -> Labelled:
        """The rows that were shown."""
        return Labelled(*(each[self.shown_N] for each in (self.data.labels, self.data.scores, self.data.weights)))

    @cached_property
    def _lists(self) -> tuple[Lists, np.ndarray, Floats]:
        """The rows as lists, and the user and the weight of each [R]."""
        assert self.requests is not None and self.items is not None
        refuse_duplicates(self.requests, self.items)
        request_N, item_N, num = self.requests.code_N, self.items.code_N, len(self.requests.values)
        user_R, weight_R = self._one_each(self.users.code_N, "user"), self._one_each(self.data.weights, "weight")
        shown_N = self.shown_N
        rank_N = filled(tuple(item_N.shape), NEVER, item_N)
        rank_N[shown_N] = ranks_by_score(request_N[shown_N], self.data.scores[shown_N], item_N[shown_N])
        return Lists(request_N, rank_N, item_N, self.data.labels == 1, num), host(user_R), host(weight_R)

    def _one_each(self, column_N: Array, what: str) -> Array:
        """The value of each request [R]. MetricError when its rows differ."""
        assert self.requests is not None
        value_R = filled((len(self.requests.values),), 0, column_N)
        value_R[self.requests.code_N] = column_N
        odd_N = value_R[self.requests.code_N] != column_N
        if odd_N.any():
            code = int(self.requests.code_N[odd_N][0])
            raise MetricError(
                f"rows of request {self.requests.plain[code]!r} differ in their {what}: a request has one"
            )
        return value_R


def _where_shown(name: str, score_N: Array, shown_N: Array) -> Array:
    """Scores, those of what was not shown 0. MetricError where there are more or fewer."""
    if score_N.shape != shown_N.shape:
        raise MetricError(f"{name} {tuple(score_N.shape)} must be as long as the other columns {tuple(shown_N.shape)}")
    return namespace(score_N).where(shown_N, score_N, 0.0)


def _ids(name: str, column: Any, data: Labelled) -> Ids:
    """Ids [N] beside the other columns. MetricError where they are not as long."""
    ids, size = Ids.of(name, column), tuple(data.labels.shape)
    if tuple(ids.code_N.shape) != size:
        raise MetricError(f"{name} {tuple(ids.code_N.shape)} must be as long as labels {size}")
    code_N = host(ids.code_N) if namespace(data.scores) is np else ids.code_N
    return replace(ids, code_N=integers(code_N, data.scores))
