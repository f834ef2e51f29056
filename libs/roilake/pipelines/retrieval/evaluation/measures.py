"""The measures of a night: what each model's outcomes come to, on all requests and on slices.

Legend: R requests, P positives (flat, by request), E = P + all negatives, U users, K places of a list, I items.

Every metric is defined as in ``roilake.metrics.classification``, ``.ranking`` and ``.lists``; what a night adds is what
it measures them on:

- ``auc``, ``gauc``, ``pr_auc``, ``ks``: positives against the uniform negatives drawn for their requests;
  ``auc_popularity_negatives``: against those drawn in proportion to the items' events. n counts the positives.
- ``log_loss`` ... ``calibration_error``: the same rows, with scores made probabilities by a logistic map fitted on
  the validation split and judged on the test split only. n counts the rows.
- ``hit_rate@K``: each positive alone against all items but the request's other positives (leave one out), mean over
  positives; n counts them. All other ranking metrics are of the request's whole list; n counts the requests.
- A slice takes its positives, the negatives of their requests, and for ranks the list without the requests' other
  positives; metrics of whole lists are those of the requests that hold one of its positives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.lake import TABLES
from roilake.metrics import lists, names
from roilake.metrics.calibration import LogisticMap, fit_logistic
from roilake.metrics.classification import BINS, Floats, Labelled, bin_of, checked, checked_probabilities
from roilake.metrics.intervals import Draws, Estimate, Observed, Summed
from roilake.metrics.observed import (
    SCORED,
    observe_auc,
    observe_coverage,
    observe_mean,
    observe_probable,
    observe_quotient,
)
from roilake.metrics.ranking import NEVER, Ranks, ranks_among_negatives
from roilake.pipelines.retrieval.config import EvaluationConfig
from roilake.pipelines.retrieval.evaluation.slices import Mask, Positives, SliceAttributes, slice_masks

JUDGED_SPLIT = "test"
"""The split that has the config's slices, and on which calibrated probabilities are judged (fitted on
``validation``)."""


@dataclass(frozen=True)
class Catalogue:
    """All items as of a window's start: events before it [I], interest vectors [I, D] (zeros: none)."""

    events_I: NDArray[np.int64]
    vectors_ID: Floats


@dataclass(frozen=True)
class Outcomes:
    """What one model did on one split. ``negatives`` maps a kind to (scores, request of each), ``listed`` a kind of
    list metric and K to its value by request."""

    users: NDArray[np.int64]
    user_R: NDArray[np.int64]
    request_P: NDArray[np.int64]
    score_P: Floats
    rank_P: NDArray[np.int64]
    item_P: NDArray[np.int64]
    negatives: dict[str, tuple[Floats, NDArray[np.int64]]]
    top_RK: NDArray[np.int64]
    events_P: Floats
    listed: dict[tuple[str, int], Floats] = field(default_factory=dict)
    items: int = 0

    @classmethod
    def of(cls, rows: pa.Table, catalogues: Mapping[date, Catalogue], metrics: tuple[str, ...]) -> Outcomes:
        """From one model's rows of one split, as ``retrieval.scoring.judge`` yields them."""
        score_P, request_P = _flat(rows["positives"])
        users, user_R = np.unique(rows["user"].to_numpy().astype(np.int64), return_inverse=True)
        negatives = {kind: _flat(rows[kind]) for kind in ("uniform", "popular")}
        found = cls(
            users=users,
            user_R=user_R,
            request_P=request_P,
            score_P=score_P.astype(np.float64),
            rank_P=_flat(rows["ranks"])[0],
            item_P=_flat(rows["items"])[0].astype(np.int64),
            negatives={kind: (scores.astype(np.float64), row) for kind, (scores, row) in negatives.items()},
            top_RK=_padded(rows["top"]),
            events_P=np.full(len(request_P), np.nan),
            items=max((len(each.events_I) for each in catalogues.values()), default=0),
        )
        _describe(found, rows["as_of"].to_pylist(), catalogues, metrics)
        return found

    @cached_property
    def place_P(self) -> NDArray[np.int64]:
        """Which positive of its request, by rank, from 1."""
        result_P = np.empty_like(self.rank_P)
        result_P[np.lexsort((self.rank_P, self.request_P))] = Ranks.of(
            self.rank_P, self.request_P, len(self.user_R)
        ).place_P
        return result_P


def _describe(
    found: Outcomes, as_of_R: list[date], catalogues: Mapping[date, Catalogue], metrics: tuple[str, ...]
) -> None:
    """Fill in what depends on the catalogue of each request's window."""
    wanted = {(kind, k) for kind, k in map(names.parse, metrics) if kind in names.LISTED and k}
    found.listed.update({key: np.full(len(found.user_R), np.nan) for key in wanted})
    window_R = np.array(as_of_R, dtype=object)
    for as_of, catalogue in catalogues.items():
        mine_R = window_R == as_of
        mine_P = mine_R[found.request_P]
        found.events_P[mine_P] = catalogue.events_I[found.item_P[mine_P]]
        for kind, k in wanted:
            values = _of_lists(kind, found.top_RK[mine_R, :k], catalogue)
            found.listed[kind, k][mine_R] = values if values is not None else 0.0


def _of_lists(kind: str, top_RK: NDArray[np.int64], catalogue: Catalogue) -> Floats | None:
    if kind == "novelty":
        return lists.mean_of_items(lists.surprise(catalogue.events_I), top_RK)
    if kind == "diversity":
        return lists.diversity(catalogue.vectors_ID, top_RK)
    return lists.mean_of_items(catalogue.events_I, top_RK) if kind == "popularity_bias" else None


def measure(
    outcomes: pa.Table,
    catalogues: Mapping[date, Catalogue],
    facts: SliceAttributes,
    config: EvaluationConfig,
    default_model: str,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``: every model, split, slice and metric. What is undefined (an empty slice) is null,
    with n = 0 (or the n of what is there, where only the interval or one class is missing).

    Intervals: DeLong with users as clusters for ``auc`` and ``auc_popularity_negatives``, likewise from each user's part of the
    error for ``pr_auc``, jackknife over users for coverage, otherwise a bootstrap over users. Slice
    ``delta_vs_DEFAULT_MODEL``
    holds differences: the model's metric on all requests minus that of the default model, with the interval of the
    paired difference. Slices ``calibration bin NN`` hold ``predicted`` and ``observed`` of that bin (test split).
    """
    if outcomes.num_rows and default_model not in pc.unique(outcomes["model"]).to_pylist():
        raise MetricError(
            f"no outcomes of the default model {default_model!r}: it was not judged in this run"
        )
    models = {}
    for place in outcomes.group_by(["split", "model"]).aggregate([]).to_pylist():
        rows = _rows_of(outcomes, place["split"], place["model"])
        models[place["split"], place["model"]] = Outcomes.of(rows, catalogues, config.metrics)
    rows = []
    with ThreadPoolExecutor() as pool:  # sorting lets go of the interpreter lock
        for split in sorted({split for split, _ in models}):
            usual = _rows_of(outcomes, split, default_model)
            cuts = (
                config.slices if split == JUDGED_SPLIT else {}
            )  # validation is for selection, not for reading
            masks = slice_masks(Positives.of(usual), cuts, facts)
            job = _Split(split, default_model, models, masks, config, seed)
            own = sorted(model for each, model in models if each == split)
            rows += [
                row for part in pool.map(lambda model, job=job: list(job.rows(model)), own) for row in part
            ]
    return pa.Table.from_pylist(
        [{"ds": ds, "run": run, **row} for row in rows], schema=TABLES["metrics"].arrow_schema
    )


def _rows_of(outcomes: pa.Table, split: str, model: str) -> pa.Table:
    return outcomes.filter((pc.field("model") == model) & (pc.field("split") == split))


@dataclass(frozen=True)
class _Split:
    """What the models of one split are measured by."""

    split: str
    default_model: str
    models: Mapping[tuple[str, str], Outcomes]
    masks: Mapping[str, Mask]
    config: EvaluationConfig
    seed: int

    def rows(self, model: str) -> Iterator[dict[str, object]]:
        """Rows of ``metrics`` of one model, without ds and run."""
        own, usual = self.models[self.split, model], self.models[self.split, self.default_model]
        if not (np.array_equal(own.users, usual.users) and np.array_equal(own.request_P, usual.request_P)):
            raise MetricError(
                f"{model} and {self.default_model} were judged on different {self.split} requests: no difference"
            )
        draws, probability = Draws(own.users, self.config.bootstrap, self.seed), self._probability(model)
        for name, mask in self.masks.items():
            for metric, observed in observe(own, mask, self.config.metrics, probability).items():
                yield self._row(model, name, metric, observed.estimate(draws))
        if model != self.default_model:
            every = self.masks["all"]
            theirs = observe(usual, every, self.config.metrics, self._probability(self.default_model))
            for metric, observed in observe(own, every, self.config.metrics, probability).items():
                difference = observed.minus(theirs[metric])  # type: ignore[arg-type]
                yield self._row(model, f"delta_vs_{self.default_model}", metric, difference.estimate(draws))
        if probability is not None:
            for number, measures in enumerate(_curve(own, self.masks["all"], probability), 1):
                for metric, observed in measures.items():
                    yield self._row(model, f"calibration bin {number:02d}", metric, observed.estimate(draws))

    def _probability(self, model: str) -> LogisticMap | None:
        """The map of the model's scores; none where probabilities are not judged or there is nothing to fit."""
        fitted_on = self.models.get(("validation", model))
        if self.split != JUDGED_SPLIT or fitted_on is None:
            return None
        data, _ = _pooled(fitted_on, np.ones(len(fitted_on.request_P), np.bool_), "uniform")
        return fit_logistic(data.labels, data.scores)

    def _row(self, model: str, name: str, metric: str, found: Estimate) -> dict[str, object]:
        numbers = {"value": found.value, "low": found.low, "high": found.high}
        known = {key: None if np.isnan(number) else number for key, number in numbers.items()}
        return {"split": self.split, "model": model, "slice": name, "metric": metric, "n": found.n, **known}


def observe(
    outcomes: Outcomes, chosen_P: Mask, metrics: tuple[str, ...], probability: LogisticMap | None
) -> dict[str, Observed]:
    """What every metric of the night is computed from, for the chosen positives, by name. Metrics of probabilities
    are left out where there is no ``probability``."""
    data, user_E = _pooled(outcomes, chosen_P, "uniform")
    ranks = Ranks.of(_without(outcomes, chosen_P), outcomes.request_P[chosen_P], len(outcomes.user_R))
    likely = checked_probabilities(data.labels, probability(data.scores)) if probability else None
    found: dict[str, Observed] = {}
    for name in metrics:
        kind, k = names.parse(name)
        if kind in SCORED:
            found[name] = SCORED[kind](data, user_E, len(outcomes.users))
        elif kind == names.AUC_POPULARITY_NEGATIVES:
            found[name] = observe_auc(*_pooled(outcomes, chosen_P, "popular"), len(outcomes.users))
        elif kind in names.RANKED:
            found[name] = _ranked(outcomes, ranks, kind, k)
        elif kind in names.LISTED:
            found[name] = _listed(outcomes, chosen_P, kind, k or 1)
        elif likely is not None:
            found[name] = observe_probable(kind, likely, user_E, len(outcomes.users))
    return found


def _ranked(outcomes: Outcomes, ranks: Ranks, kind: str, k: int | None) -> Summed:
    if kind == "hit_rate":
        hits_P = (ranks_among_negatives(ranks) <= k).astype(np.float64)
        return observe_mean(hits_P, outcomes.user_R[ranks.request_P], len(outcomes.users))
    return observe_mean(ranks.metric(kind, k), outcomes.user_R, len(outcomes.users))


def _listed(outcomes: Outcomes, chosen_P: Mask, kind: str, k: int) -> Observed:
    chosen_R = np.zeros(len(outcomes.user_R), np.bool_)
    chosen_R[outcomes.request_P[chosen_P]] = True
    if kind == "coverage":
        top_RK = outcomes.top_RK[chosen_R, :k]
        user_RK = np.broadcast_to(outcomes.user_R[chosen_R, None], top_RK.shape)
        return observe_coverage(
            top_RK[top_RK >= 0], user_RK[top_RK >= 0], len(outcomes.users), outcomes.items
        )
    values_R = np.where(chosen_R, outcomes.listed[kind, k], np.nan)
    if kind != "popularity_bias":
        return observe_mean(values_R, outcomes.user_R, len(outcomes.users))
    rows, request = outcomes.events_P[chosen_P], outcomes.request_P[chosen_P]
    count_R = np.maximum(np.bincount(request, minlength=len(chosen_R)), 1)
    chosen_events_R = np.bincount(request, rows, len(chosen_R)) / count_R
    return observe_quotient(values_R, chosen_events_R, outcomes.user_R, len(outcomes.users))


def _pooled(outcomes: Outcomes, chosen_P: Mask, kind: str) -> tuple[Labelled, NDArray[np.int64]]:
    """Chosen positives and the negatives of their requests, and the user of each row [E]."""
    scores, request = outcomes.negatives[kind]
    chosen_R = np.zeros(len(outcomes.user_R), np.bool_)
    chosen_R[outcomes.request_P[chosen_P]] = True
    positives, mine = outcomes.score_P[chosen_P], chosen_R[request]
    scores_E = np.concatenate([positives, scores[mine]])
    request_E = np.concatenate([outcomes.request_P[chosen_P], request[mine]])
    labels_E = (np.arange(len(scores_E)) < len(positives)).astype(np.float64)
    return checked(labels_E, scores_E), outcomes.user_R[request_E]


def _curve(outcomes: Outcomes, chosen_P: Mask, probability: LogisticMap) -> Iterator[dict[str, Observed]]:
    """Of each bin that holds rows: mean probability and share of positives."""
    data, user_E = _pooled(outcomes, chosen_P, "uniform")
    likely = probability(data.scores)
    bin_E = bin_of(likely)
    for number in range(BINS):
        mine = bin_E == number
        parts = {"predicted": likely[mine], "observed": data.labels[mine]}
        yield {
            name: observe_mean(part, user_E[mine], len(outcomes.users))
            for name, part in parts.items()
            if len(part)
        }


def _without(outcomes: Outcomes, chosen_P: Mask) -> NDArray[np.int64]:
    """Ranks of the chosen positives with the requests' other positives taken out of the list: each moves up by the
    number of others before it, which is its place among all its request's positives less that among the chosen."""
    rank_P, request_P = outcomes.rank_P[chosen_P], outcomes.request_P[chosen_P]
    order = np.lexsort((rank_P, request_P))
    place_P = np.empty_like(rank_P)
    place_P[order] = Ranks.of(rank_P, request_P, len(outcomes.user_R)).place_P
    return np.where(rank_P == NEVER, rank_P, rank_P - (outcomes.place_P[chosen_P] - place_P))


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
