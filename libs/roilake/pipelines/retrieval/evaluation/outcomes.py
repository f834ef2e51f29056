"""What a model did with the requests of a split, as arrays, from rows of ``retrieval.scoring``.

Legend: R requests, P positives (flat, by request), E = P + all negatives, U users, K positions of a list, I items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.metrics.classification import Floats, Labelled, checked
from roilake.metrics.leakage import SHUFFLED, shuffled_auc
from roilake.metrics.lists import Catalogue
from roilake.metrics.metric_rows import metric_row
from roilake.metrics.ranking import NEVER, Ranks
from roilake.metrics.registry import Metric
from roilake.metrics.slices import LEAKAGE_CHECK
from roilake.pipelines.retrieval.evaluation.slices import Mask


@dataclass(frozen=True)
class Outcomes:
    """One model on one split. ``negatives`` maps a kind to (scores, request of each), ``catalogues`` the start of a
    window to the items as of then; ``rank_P`` is among all items."""

    users: NDArray[np.int64]
    user_R: NDArray[np.int64]
    as_of_R: NDArray[np.object_]
    request_P: NDArray[np.int64]
    score_P: Floats
    rank_P: NDArray[np.int64]
    item_P: NDArray[np.int64]
    negatives: dict[str, tuple[Floats, NDArray[np.int64]]]
    top_RK: NDArray[np.int64]
    catalogues: Mapping[date, Catalogue]
    _of_lists: dict[tuple[str, int], Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pa.Table, catalogues: Mapping[date, Catalogue]) -> Outcomes:
        """From one model's rows of one split, as ``retrieval.scoring.evaluate`` yields them."""
        score_P, request_P = _flat(rows["positives"])
        users, user_R = np.unique(rows["user"].to_numpy().astype(np.int64), return_inverse=True)
        negatives = {kind: _flat(rows[kind]) for kind in ("uniform", "popular", "in_query")}
        return cls(
            users=users,
            user_R=user_R,
            as_of_R=np.array(rows["as_of"].to_pylist(), dtype=object),
            request_P=request_P,
            score_P=score_P.astype(np.float64),
            rank_P=_flat(rows["ranks"])[0],
            item_P=_flat(rows["items"])[0].astype(np.int64),
            negatives={kind: (scores.astype(np.float64), row) for kind, (scores, row) in negatives.items()},
            top_RK=_padded(rows["top"]),
            catalogues=catalogues,
        )

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return max((each.count for each in self.catalogues.values()), default=0)

    @cached_property
    def position_P(self) -> NDArray[np.int64]:
        """Which of its request's positives each is, by rank, from 1."""
        return _positions(self.rank_P, self.request_P, len(self.user_R))

    @cached_property
    def in_query_P(self) -> Floats:
        """Share of the negatives of its request's query that each positive beats, ties a half; NaN without one."""
        scores, request = self.negatives["in_query"]
        count_R = np.bincount(request, minlength=len(self.user_R))
        count_P, first_P = count_R[self.request_P], (np.cumsum(count_R) - count_R)[self.request_P]
        beaten_P = np.where(count_P > 0, 0.0, np.nan)
        for place in range(count_R.max(initial=0)):
            mine = np.flatnonzero(count_P > place)
            other, own = scores[first_P[mine] + place], self.score_P[mine]
            beaten_P[mine] += ((own > other) + 0.5 * (own == other)) / count_P[mine]
        return beaten_P

    @cached_property
    def events_P(self) -> Floats:
        """Events of each positive's item before the window; NaN where there is no catalogue of it."""
        events_P = np.full(len(self.request_P), np.nan)
        for mine_R, catalogue in self._windows():
            mine_P = mine_R[self.request_P]
            events_P[mine_P] = catalogue.events_I[self.item_P[mine_P]]
        return events_P

    def of_lists(self, metric: Metric, k: int) -> Floats:
        """A metric of the first K items shown, by request [R]."""
        if (metric.name, k) not in self._of_lists:  # slices share it
            values_R = np.full(len(self.user_R), np.nan)
            for mine_R, catalogue in self._windows():
                values_R[mine_R] = metric.compute(self.top_RK[mine_R, :k], catalogue)
            self._of_lists[metric.name, k] = values_R
        return self._of_lists[metric.name, k]

    def _windows(self) -> Iterator[tuple[Mask, Catalogue]]:
        """The requests of each window [R], and its catalogue."""
        for as_of, catalogue in self.catalogues.items():
            yield self.as_of_R == as_of, catalogue

    def requests_of(self, chosen_P: Mask) -> Mask:
        """Requests that hold a chosen positive [R]."""
        chosen_R = np.zeros(len(self.user_R), np.bool_)
        chosen_R[self.request_P[chosen_P]] = True
        return chosen_R

    def examples(self, chosen_P: Mask, kind: str) -> tuple[Labelled, NDArray[np.int64]]:
        """Chosen positives and the negatives of their requests, and the user of each row [E]."""
        scores, request = self.negatives[kind]
        positives, mine = self.score_P[chosen_P], self.requests_of(chosen_P)[request]
        scores_E = np.concatenate([positives, scores[mine]])
        request_E = np.concatenate([self.request_P[chosen_P], request[mine]])
        labels_E = (np.arange(len(scores_E)) < len(positives)).astype(np.float64)
        return checked(labels_E, scores_E), self.user_R[request_E]

    def ranks(self, chosen_P: Mask) -> Ranks:
        """Ranks of the chosen positives with the requests' other positives taken out of the list: each moves up by the
        number of others before it, which is its position among all its request's positives less that among the
        chosen."""
        rank_P, request_P = self.rank_P[chosen_P], self.request_P[chosen_P]
        before_P = self.position_P[chosen_P] - _positions(rank_P, request_P, len(self.user_R))
        moved_P = np.where(rank_P == NEVER, rank_P, rank_P - before_P)
        return Ranks.of(moved_P, request_P, len(self.user_R))


def rows_of(outcomes: pa.Table, split: str, model: str) -> pa.Table:
    """One model's rows of one split."""
    return outcomes.filter((pc.field("model") == model) & (pc.field("split") == split))


def shuffled_rows(outcomes: pa.Table, seed: int) -> Iterator[dict[str, object]]:
    """Rows of ``metrics``: ``auc_shuffled`` on slice ``leakage_check`` of each split and model, of positives against
    uniform negatives, as metric ``auc`` has them."""
    keys = outcomes.group_by(["split", "model"]).aggregate([]).to_pylist()
    for split, model in sorted((key["split"], key["model"]) for key in keys):
        found = shuffled_auc(*_keyed_examples(rows_of(outcomes, split, model), seed))
        yield metric_row(model, split, LEAKAGE_CHECK, SHUFFLED, found)


def _keyed_examples(rows: pa.Table, seed: int) -> tuple[NDArray, NDArray, NDArray[np.uint64]]:
    """Labels, scores and keys [E]; a key depends on seed, request, label and position, not on the order of rows."""
    labels, scores, keys = [], [], []
    for label, column in enumerate(("uniform", "positives")):
        score, row = _flat(rows[column])
        length = pc.list_value_length(rows[column]).to_numpy()
        position = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        keys.append(keyed_hash(seed, rows["request"].to_numpy()[row], label, position))
        scores.append(score)
        labels.append(np.full(len(score), label))
    return np.concatenate(labels), np.concatenate(scores), np.concatenate(keys)


def _positions(rank_P: NDArray[np.int64], request_P: NDArray[np.int64], requests: int) -> NDArray[np.int64]:
    """Which of its request's positives each is, by rank, from 1 [P]."""
    position_P = np.empty_like(rank_P)
    position_P[np.lexsort((rank_P, request_P))] = Ranks.of(rank_P, request_P, requests).position_P
    return position_P


def _flat(lists: pa.ChunkedArray) -> tuple[NDArray, NDArray[np.int64]]:
    """All entries of a list column, and the row of each."""
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    return pc.list_flatten(lists).to_numpy(), row


def _padded(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Lists as rows of a matrix, -1 padded."""
    lengths = pc.list_value_length(column).to_numpy()
    padded = np.full((len(column), int(lengths.max(initial=0))), -1, np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = pc.list_flatten(column).to_numpy()
    return padded
