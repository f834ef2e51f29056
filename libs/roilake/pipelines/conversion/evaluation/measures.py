"""The measures of a night of conversion models, each with n and its 95 % interval.

Legend: N impressions, U users, E examples.

- Splits ``validation`` and ``test``, slice ``clicked``: clicks, by their predicted conversion: ``auc``, ``log_loss``,
  ``calibration_ratio`` (predicted over true) and ``calibration_error``. Slice ``all``: ``ctr_auc``, the impressions by
  their predicted click, and ``ctcvr_auc``, by click and conversion; not of a model that predicts no click.
- Split ``unbiased``, slices ``all``, ``clicked`` and ``unclicked``: pairs drawn at random, by their predicted
  conversion *if clicked*, whether they were or not: the same four. Of a generated truth nobody drew an outcome, so each
  metric is the expectation over the true probabilities: a pair is a positive of weight p and a negative of weight
  1 - p, and belongs to the clicked ones by the probability of its click.
- Slice ``delta_vs_default on SLICE``: the paired difference to the default model, of every metric of that slice.
  ``delta_vs_default``: that of the slices that stand for the split, which are ``all`` and, but for ``unbiased``,
  ``clicked`` (no metric is of both).
- Slices ``calibration bin NN``: ``predicted`` and ``observed`` of tenths of the rows by predicted probability (of equal
  numbers of rows, for conversions are rare), of the clicks of split test and of all pairs of split unbiased.

Rows count by the reciprocal of their sampling rate. What is not defined (a day without a conversion) is null."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.metrics.calibration import calibration_curve
from roilake.metrics.classification import Floats, Labelled, checked_probabilities
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.leakage import SHUFFLED, shuffled_auc
from roilake.metrics.metric_rows import metric_row, metric_table
from roilake.metrics.observed import observe_auc, observe_sums
from roilake.metrics.registry import parse
from roilake.metrics.slices import ALL, LEAKAGE_CHECK, delta_vs_default
from roilake.pipelines.conversion.evaluation.predictions import EvaluatedImpressions, Predictions
from roilake.pipelines.conversion.metrics import CONVERSION, IMPRESSION, SLICES

BINS = 10
UNBIASED = "unbiased"
Key = tuple[str, str]
"""Slice and metric."""


def measure(
    impressions: Mapping[str, EvaluatedImpressions],
    predictions: Mapping[str, Mapping[str, Predictions]],
    default_model: str,
    bootstrap: int,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``, from the impressions by split and the predictions by split and model.

    Intervals: DeLong with users as clusters for AUCs, else a bootstrap over users.
    """
    rows = []
    for split, known in sorted(impressions.items()):
        draws = Draws(np.arange(known.users), bootstrap, seed)
        baseline = observe(split, known, predictions[split][default_model])
        for model, predicted in sorted(predictions[split].items()):
            against = baseline if model != default_model else {}
            for (name, metric), found in _of_model(split, known, predicted, against):
                rows.append(metric_row(model, split, name, metric, found.estimate(draws)))
            if split != UNBIASED:
                rows.append(metric_row(model, split, LEAKAGE_CHECK, SHUFFLED, shuffled(known, predicted, seed)))
    return metric_table(rows, ds, run)


def _of_model(
    split: str, known: EvaluatedImpressions, predicted: Predictions, baseline: Mapping[Key, Observed]
) -> Iterator[tuple[Key, Observed]]:
    """What a model's metrics of a split are computed from, by slice and metric: its own, the paired differences to the
    ``baseline`` (those of the default model), and its calibration curve."""
    own = observe(split, known, predicted)
    yield from own.items()
    for (name, metric), found in own.items():
        if (name, metric) in baseline:
            difference = found.minus(baseline[name, metric])  # type: ignore[arg-type]
            for paired in dict.fromkeys((name,) if split == UNBIASED else (ALL, name)):
                yield (delta_vs_default(paired), metric), difference
    if split != "validation":
        yield from curve(known, predicted, ALL if split == UNBIASED else "clicked")


def observe(split: str, known: EvaluatedImpressions, predicted: Predictions) -> dict[Key, Observed]:
    """What each metric of a split is computed from, by slice and metric."""
    if split == UNBIASED:
        return {key: each for name in SLICES for key, each in _of_slice(known, predicted, name).items()}
    found = _of_slice(known, predicted, "clicked")
    if predicted.pctr_N is not None and predicted.pctcvr_N is not None:
        both_N = known.click_N * np.nan_to_num(known.conversion_N)
        parts = (known.click_N, predicted.pctr_N), (both_N, predicted.pctcvr_N)
        for metric, (label_N, score_N) in zip(IMPRESSION, parts, strict=True):
            data, user_E = examples(known, label_N, score_N, known.slice_weights(ALL))
            found[ALL, metric] = observe_auc(data, user_E, known.users)
    return found


def _of_slice(known: EvaluatedImpressions, predicted: Predictions, name: str) -> dict[Key, Observed]:
    """The metrics of predicted conversions on a slice; none where nobody knows what belongs to it."""
    weight_N = known.slice_weights(name)
    rows = int((weight_N * ~np.isnan(known.conversion_N) > 0).sum())
    if name != ALL and np.isnan(known.click_N).all() and len(known.click_N):
        return {}
    data, user_E = examples(known, known.conversion_N, predicted.pcvr_N, weight_N)
    found: dict[Key, Observed] = {(name, "auc"): observe_auc(data, user_E, known.users)}
    for metric in CONVERSION[1:]:
        sums = observe_sums(parse(metric)[0].compute, data, user_E, known.users)
        found[name, metric] = replace(sums, n=rows)
    return found


def examples(
    known: EvaluatedImpressions, label_N: Floats, score_N: Floats, weight_N: Floats
) -> tuple[Labelled, NDArray[np.int64]]:
    """Positives by the weight of their label and negatives by what that leaves, and the user of each [E]; rows without
    a known label are left out."""
    mass_N = np.nan_to_num(weight_N * label_N), np.nan_to_num(weight_N * (1 - label_N))
    held = [np.flatnonzero(mass) for mass in mass_N]
    index_E = np.concatenate(held)
    labels_E = np.repeat([1.0, 0.0], [len(rows) for rows in held])
    weights_E = np.concatenate([mass[rows] for mass, rows in zip(mass_N, held, strict=True)])
    return checked_probabilities(labels_E, score_N[index_E], weights_E), known.user_N[index_E]


def curve(known: EvaluatedImpressions, predicted: Predictions, name: str) -> Iterator[tuple[Key, Observed]]:
    """The calibration curve on a slice, in bins of equal numbers of rows."""
    weight_N = known.slice_weights(name)
    chosen = np.flatnonzero((weight_N > 0) & ~np.isnan(known.conversion_N))
    if len(chosen):
        score_C: Floats = predicted.pcvr_N[chosen]
        bin_C = np.digitize(score_C, np.unique(np.quantile(score_C, np.arange(1, BINS) / BINS)))
        data = Labelled(known.conversion_N[chosen], score_C, weight_N[chosen])
        yield from calibration_curve(data, bin_C, known.user_N[chosen], known.users)


def shuffled(known: EvaluatedImpressions, predicted: Predictions, seed: int) -> Estimate:
    """AUC of the predicted conversions of clicks against their labels dealt out anew."""
    clicked = np.flatnonzero((known.click_N == 1) & ~np.isnan(known.conversion_N))
    return shuffled_auc(known.conversion_N[clicked], predicted.pcvr_N[clicked], keyed_hash(seed, clicked))
