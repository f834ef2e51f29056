"""The measures of a night: what each model's outcomes come to, on all requests and on slices.

Legend: R requests, P positives (flat, by request), E = P + all negatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.config import EvaluationConfig
from roilake.errors import MetricError
from roilake.evaluation import auc_difference, auc_estimate, mean_difference, mean_estimate
from roilake.evaluation.intervals import Estimate
from roilake.evaluation.metrics import Floats
from roilake.evaluation.names import parse
from roilake.evaluation.ranking import Ranks, ranks_among_negatives

SLICES = ("all", "cold_users", "warm_users", "head_items", "tail_items")


@dataclass(frozen=True)
class Outcomes:
    """What one model did on one split. ``negatives`` maps a kind to (scores, request of each)."""

    user_R: NDArray[np.int64]
    cold_R: NDArray[np.bool_]
    request_P: NDArray[np.int64]
    score_P: Floats
    rank_P: NDArray[np.int64]
    head_P: NDArray[np.bool_]
    negatives: dict[str, tuple[Floats, NDArray[np.int64]]]

    @classmethod
    def of(cls, table: pa.Table) -> Outcomes:
        """From rows as ``roilake.scoring.judge`` yields them."""
        score_P, request_P = _flat(table["positives"])
        return cls(
            user_R=table["user"].to_numpy().astype(np.int64),
            cold_R=table["cold"].to_numpy().astype(np.bool_),
            request_P=request_P,
            score_P=score_P.astype(np.float64),
            rank_P=_flat(table["ranks"])[0],
            head_P=_flat(table["head"])[0].astype(np.bool_),
            negatives={
                kind: (_flat(table[kind])[0].astype(np.float64), _flat(table[kind])[1])
                for kind in ("uniform", "popular")
            },
        )

    def slice(self, name: str) -> NDArray[np.bool_]:
        """Which positives [P] belong to a slice: of users without (cold) or with events before the window, of
        the fifth of the items with most events before it (head) or of the others."""
        cold_P = self.cold_R[self.request_P]
        choices = {
            "cold_users": cold_P,
            "warm_users": ~cold_P,
            "head_items": self.head_P,
            "tail_items": ~self.head_P,
        }
        return choices.get(name, np.ones(len(self.request_P), np.bool_))


@dataclass(frozen=True)
class Observed:
    """What a metric is computed from: a mean of ``values``, or with ``labels`` the AUC of ``values``."""

    values: Floats
    users: NDArray[np.int64]
    labels: Floats | None = None

    def estimate(self, draws: int, seed: int) -> Estimate:
        """The metric with its interval."""
        if self.labels is None:
            return mean_estimate(self.values, self.users, draws=draws, seed=seed)
        return auc_estimate(self.labels, self.values, self.users)

    def minus(self, other: Observed, draws: int, seed: int) -> Estimate:
        """The metric minus that of another model on the same requests, with the interval of the paired
        difference. MetricError when the requests differ."""
        if not np.array_equal(self.users, other.users):
            raise MetricError("a difference of two models needs the same requests in the same order for both")
        if self.labels is None:
            return mean_difference(self.values, other.values, self.users, draws=draws, seed=seed)
        return auc_difference(self.labels, self.values, other.values, self.users)


def measure(
    outcomes: pa.Table, config: EvaluationConfig, default_model: str, seed: int, ds: date, run: str
) -> pa.Table:
    """Rows of ``metrics``: every model, split, slice and metric. What is undefined (an empty slice) is null,
    with n = 0.

    ``auc`` and ``auc_popular``: AUC of all positives, pooled, against the negatives drawn for their requests
    (uniformly, or in proportion to the items' events); interval by DeLong with users as clusters; n
    positives. ``hit_rate@K``: share of positives within the first K of all items, the request's other
    positives left out; n positives. ``ndcg@K``: mean over requests, gains from the full ranking; n requests;
    of a slice of items, with the slice's positives only, the others left out of the list. Their intervals are
    bootstraps over users. Slice ``minus DEFAULT_MODEL`` holds differences: the model's metric on all requests
    minus that of the default model, with the interval of the paired difference.
    """
    places = outcomes.group_by(["split", "model"]).aggregate([]).to_pylist()
    models = {(place["split"], place["model"]): _outcomes_of(outcomes, place) for place in places}
    with ThreadPoolExecutor() as pool:  # sorting lets go of the interpreter lock
        parts = pool.map(
            lambda place: list(_rows(place[0], place[1], models, config, default_model, seed)), sorted(models)
        )
        rows = [{"ds": ds, "run": run, **row} for part in parts for row in part]
    return pa.Table.from_pylist(rows, schema=_schema())


def _outcomes_of(table: pa.Table, place: dict[str, str]) -> Outcomes:
    wanted = (pc.field("model") == place["model"]) & (pc.field("split") == place["split"])
    return Outcomes.of(table.filter(wanted))


def _rows(
    split: str,
    model: str,
    models: dict[tuple[str, str], Outcomes],
    config: EvaluationConfig,
    default_model: str,
    seed: int,
) -> Iterator[dict[str, object]]:
    own, usual = models[split, model], models.get((split, default_model))
    place = {"split": split, "model": model}
    for name in SLICES:
        for metric, observed in observe(own, own.slice(name), config).items():
            found = observed.estimate(config.bootstrap, seed)
            yield {**place, "slice": name, "metric": metric, "n": found.n, **_bounds(found)}
    if usual is not None and model != default_model:
        theirs = observe(usual, usual.slice("all"), config)
        for metric, observed in observe(own, own.slice("all"), config).items():
            found = observed.minus(theirs[metric], config.bootstrap, seed)
            name = f"minus {default_model}"
            yield {**place, "slice": name, "metric": metric, "n": found.n, **_bounds(found)}


def _schema() -> pa.Schema:
    texts = [(name, pa.string()) for name in ("run", "model", "split", "slice", "metric")]
    numbers = [(name, pa.float64()) for name in ("value", "low", "high")]
    return pa.schema([("ds", pa.date32()), *texts, *numbers, ("n", pa.int64())])


def _bounds(found: Estimate) -> dict[str, float | None]:
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    return {name: None if np.isnan(number) else number for name, number in numbers.items()}


def observe(outcomes: Outcomes, chosen_P: NDArray[np.bool_], config: EvaluationConfig) -> dict[str, Observed]:
    """What every metric of the night is computed from, for the chosen positives, by name."""
    request_P = outcomes.request_P[chosen_P]
    ranks = Ranks.of(_without(outcomes, chosen_P), request_P, len(outcomes.user_R))
    alone_P, user_P = ranks_among_negatives(ranks), outcomes.user_R[ranks.request_P]
    found = [parse(name) for name in config.metrics]
    ks = {wanted: [k for kind, k in found if kind == wanted and k] for wanted in ("hit_rate", "ndcg")}
    return {
        "auc": _pooled(outcomes, chosen_P, "uniform"),
        "auc_popular": _pooled(outcomes, chosen_P, "popular"),
        **{f"hit_rate@{k}": Observed((alone_P <= k).astype(np.float64), user_P) for k in ks["hit_rate"]},
        **{f"ndcg@{k}": Observed(ranks.ndcg(k), outcomes.user_R) for k in ks["ndcg"]},
    }


def _pooled(outcomes: Outcomes, chosen_P: NDArray[np.bool_], kind: str) -> Observed:
    """Chosen positives and the negatives of their requests."""
    scores, request = outcomes.negatives[kind]
    chosen_R = np.zeros(len(outcomes.user_R), np.bool_)
    chosen_R[outcomes.request_P[chosen_P]] = True
    positives, mine = outcomes.score_P[chosen_P], chosen_R[request]
    scores_E = np.concatenate([positives, scores[mine]])
    request_E = np.concatenate([outcomes.request_P[chosen_P], request[mine]])
    labels_E = (np.arange(len(scores_E)) < len(positives)).astype(np.float64)
    return Observed(scores_E, outcomes.user_R[request_E], labels_E)


def _without(outcomes: Outcomes, chosen_P: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ranks of the chosen positives with the requests' other positives taken out of the list."""
    every = Ranks.of(outcomes.rank_P, outcomes.request_P, len(outcomes.user_R))
    order = np.lexsort((outcomes.rank_P, outcomes.request_P))
    other_P = ~chosen_P[order]
    ahead_P = np.cumsum(other_P) - other_P
    first_R = np.cumsum(every.relevant_R) - every.relevant_R
    before_R = np.r_[ahead_P, 0][np.minimum(first_R, len(ahead_P))]
    ahead_P = ahead_P - before_R[every.request_P]
    shown = every.rank_P != np.iinfo(np.int64).max
    result_P = np.empty_like(outcomes.rank_P)
    result_P[order] = np.where(shown, every.rank_P - ahead_P, every.rank_P)
    return result_P[chosen_P]


def _flat(lists: pa.ChunkedArray) -> tuple[NDArray, NDArray[np.int64]]:
    """All entries of a list column, and the row of each."""
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    return pc.list_flatten(lists).to_numpy(), row
