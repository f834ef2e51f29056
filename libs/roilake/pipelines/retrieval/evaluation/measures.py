"""The measures of a night: what each model's outcomes come to, on all requests and on slices.

Legend: R requests, P positives (flat, by request), E = P + all negatives, U users, K positions of a list, I items.

Every metric is defined as in ``roilake.metrics.classification``, ``.ranking`` and ``.lists``; what a night adds is what
it measures them on:

- ``auc``, ``gauc``, ``pr_auc``, ``ks``: positives against the uniform negatives drawn for their requests;
  ``auc_popularity_negatives``: against those drawn in proportion to the items' events. n counts the positives.
- ``auc_in_query``: mean over positives of the share of negatives below it that are drawn, for its request, from the
  items linked to the query; n counts the positives that have one.
- ``log_loss`` ... ``calibration_error``: the same rows, with scores made probabilities by a logistic map fitted on
  the validation split and evaluated on the test split only. n counts the rows.
- ``hit_rate@K``: each positive alone against all items but the request's other positives (leave one out), mean over
  positives; n counts them. All other ranking metrics are of the request's whole list (``success@K`` is its hit rate); n
  counts the requests.
- A slice takes its positives, the negatives of their requests, and for ranks the list without the requests' other
  positives; metrics of whole lists are those of the requests that hold one of its positives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roilake.errors import MetricError
from roilake.metrics.calibration import LogisticMap, calibration_curve, fit_logistic
from roilake.metrics.classification import Labelled, bin_of, checked_probabilities
from roilake.metrics.intervals import Draws, Observed, Summed
from roilake.metrics.lists import Catalogue
from roilake.metrics.metric_rows import compared_rows, metric_row, metric_table
from roilake.metrics.observed import observe_coverage, observe_mean, observe_quotient, observe_sums
from roilake.metrics.ranking import Ranks, ranks_among_negatives
from roilake.metrics.registry import Metric, parse
from roilake.metrics.slices import ALL
from roilake.pipelines.retrieval.config import EvaluationConfig
from roilake.pipelines.retrieval.evaluation.outcomes import Outcomes, rows_of, shuffled_rows
from roilake.pipelines.retrieval.evaluation.slices import Mask, Positives, SliceAttributes, slice_masks
from roilake.pipelines.retrieval.metrics import IN_QUERY, OWN, POPULARITY_NEGATIVES

SLICED = "test"
"""The split that has the config's slices, and on which calibrated probabilities are evaluated (fitted on
``validation``)."""


def measure(
    outcomes: pa.Table,
    catalogues: Mapping[date, Catalogue],
    attributes: SliceAttributes,
    config: EvaluationConfig,
    default_model: str,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``: every model, split, slice and metric, and those of shuffled labels. What is undefined (an
    empty slice) is null, with n = 0 (or the n of what is there, where only the interval or one class is missing).

    Intervals: DeLong with users as clusters for ``auc`` and ``auc_popularity_negatives``, likewise from each user's
    part of the error for ``pr_auc``, jackknife over users for coverage, otherwise a bootstrap over users. Slice
    ``delta_vs_default`` holds differences: the model's metric on all requests minus that of the default model,
    with the interval of the paired difference; ``delta_vs_default on SLICE`` those on every other slice. Slices
    ``calibration bin NN`` hold ``predicted`` and ``observed`` of that bin (test split).
    """
    if outcomes.num_rows and default_model not in pc.unique(outcomes["model"]).to_pylist():
        raise MetricError(f"no outcomes of the default model {default_model!r}: it was not evaluated in this run")
    models: dict[str, dict[str, Outcomes]] = {}
    for key in outcomes.group_by(["split", "model"]).aggregate([]).to_pylist():
        models.setdefault(key["split"], {})[key["model"]] = Outcomes.of(rows_of(outcomes, **key), catalogues)
    rows: list[dict[str, object]] = []
    with ThreadPoolExecutor() as pool:  # sorting lets go of the interpreter lock
        for split in sorted(models):
            cuts = config.slices if split == SLICED else {}  # validation is for selection, not for reading
            masks = slice_masks(Positives.of(rows_of(outcomes, split, default_model)), cuts, attributes)
            fitted_on = models.get("validation", {}) if split == SLICED else {}
            work = _Split(split, default_model, models[split], fitted_on, masks, config, seed)
            rows += work.rows(pool)
    return metric_table([*rows, *shuffled_rows(outcomes, seed)], ds, run)


@dataclass(frozen=True)
class _Split:
    """What the models of one split are measured by. ``fitted_on`` are the outcomes that make scores probabilities."""

    split: str
    default_model: str
    models: Mapping[str, Outcomes]
    fitted_on: Mapping[str, Outcomes]
    masks: Mapping[str, Mask]
    config: EvaluationConfig
    seed: int

    def rows(self, pool: ThreadPoolExecutor) -> Iterator[dict[str, object]]:
        """Rows of ``metrics`` without ds and run, by slice and model."""
        baseline = self.models[self.default_model]
        for model, own in self.models.items():
            if not (np.array_equal(own.users, baseline.users) and np.array_equal(own.request_P, baseline.request_P)):
                raise MetricError(
                    f"{model} and {self.default_model} were evaluated on different {self.split} requests: no difference"
                )
        draws = Draws(baseline.users, self.config.bootstrap, self.seed)
        for name in self.masks:
            theirs = self._observed(self.default_model, name)
            of_slice = partial(self._of_slice, name=name, theirs=theirs, draws=draws)
            for part in pool.map(of_slice, sorted(self.models)):
                yield from part
        for part in pool.map(partial(self._curve, draws=draws), sorted(self.models)):
            yield from part

    def _of_slice(self, model: str, name: str, theirs: Mapping[str, Observed], draws: Draws) -> list[dict[str, object]]:
        """A model's metrics on a slice, and how much more they are than ``theirs``, the default model's."""
        if model == self.default_model:
            return list(compared_rows(model, self.split, name, theirs, None, draws))
        return list(compared_rows(model, self.split, name, self._observed(model, name), theirs, draws))

    def _observed(self, model: str, name: str) -> dict[str, Observed]:
        """What a model's metrics on a slice are computed from."""
        return observe(self.models[model], self.masks[name], self.config.metrics, self._probability(model))

    def _curve(self, model: str, draws: Draws) -> list[dict[str, object]]:
        """A model's calibration curve, where probabilities are evaluated."""
        probability, own = self._probability(model), self.models[model]
        if probability is None:
            return []
        data, user_E = own.examples(self.masks[ALL], "uniform")
        likely = Labelled(data.labels, probability(data.scores), data.weights)
        curve = calibration_curve(likely, bin_of(likely.scores), user_E, len(own.users))
        return [metric_row(model, self.split, *place, each.estimate(draws)) for place, each in curve]

    def _probability(self, model: str) -> LogisticMap | None:
        """The map of the model's scores; none where probabilities are not evaluated or there is nothing to fit."""
        return self._probabilities.get(model)

    @cached_property
    def _probabilities(self) -> dict[str, LogisticMap | None]:
        """By model."""
        fitted = {}
        for model, outcomes in self.fitted_on.items():
            data, _ = outcomes.examples(np.ones(len(outcomes.request_P), np.bool_), "uniform")
            fitted[model] = fit_logistic(data.labels, data.scores)
        return fitted


def observe(
    outcomes: Outcomes, chosen_P: Mask, metrics: tuple[str, ...], probability: LogisticMap | None
) -> dict[str, Observed]:
    """What every metric of the night is computed from, for the chosen positives, by name. Metrics of probabilities
    are left out where there is no ``probability``."""
    users, ranks = len(outcomes.users), outcomes.ranks(chosen_P)
    data, user_E = outcomes.examples(chosen_P, "uniform")
    likely = checked_probabilities(data.labels, probability(data.scores)) if probability else None
    found: dict[str, Observed] = {}
    for name in metrics:
        metric, k = parse(name, OWN)
        if name == POPULARITY_NEGATIVES:
            found[name] = metric.compute(*outcomes.examples(chosen_P, "popular"), users)
        elif name == IN_QUERY:
            user_P = outcomes.user_R[outcomes.request_P[chosen_P]]
            found[name] = metric.compute(outcomes.in_query_P[chosen_P], user_P, users)
        elif metric.inputs == "scores":
            found[name] = metric.compute(data, user_E, users)
        elif metric.inputs == "ranks":
            found[name] = _ranked(outcomes, ranks, metric, k)
        elif metric.inputs == "lists":
            found[name] = _listed(outcomes, chosen_P, metric, k or 1)
        elif likely is not None:
            found[name] = observe_sums(metric.compute, likely, user_E, users)
    return found


def _ranked(outcomes: Outcomes, ranks: Ranks, metric: Metric, k: int | None) -> Summed:
    """A metric of ranks: the hit rate by positive, all others by request."""
    if metric.name == "hit_rate":
        hits_P = (ranks_among_negatives(ranks) <= k).astype(np.float64)
        return observe_mean(hits_P, outcomes.user_R[ranks.request_P], len(outcomes.users))
    chosen_R = np.zeros(len(outcomes.user_R), np.bool_)
    chosen_R[ranks.request_P] = True  # a request of another slice has no value, whatever the metric makes of it
    return observe_mean(np.where(chosen_R, metric.compute(ranks, k), np.nan), outcomes.user_R, len(outcomes.users))


def _listed(outcomes: Outcomes, chosen_P: Mask, metric: Metric, k: int) -> Observed:
    """A metric of the lists of the requests that hold a chosen positive."""
    chosen_R, users = outcomes.requests_of(chosen_P), len(outcomes.users)
    if metric.name == "coverage":
        top_RK = outcomes.top_RK[chosen_R, :k]
        user_RK = np.broadcast_to(outcomes.user_R[chosen_R, None], top_RK.shape)
        shown = top_RK >= 0
        return observe_coverage(top_RK[shown], user_RK[shown], users, outcomes.items)
    values_R = np.where(chosen_R, outcomes.of_lists(metric, k), np.nan)
    if metric.name != "popularity_bias":
        return observe_mean(values_R, outcomes.user_R, users)
    events, request = outcomes.events_P[chosen_P], outcomes.request_P[chosen_P]
    count_R = np.maximum(np.bincount(request, minlength=len(chosen_R)), 1)
    chosen_events_R = np.bincount(request, events, len(chosen_R)) / count_R
    return observe_quotient(values_R, chosen_events_R, outcomes.user_R, users)
