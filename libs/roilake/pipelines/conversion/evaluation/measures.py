"""The measures of a night of conversion models, each with n and its 95 % interval.

Legend: N impressions, U users, E examples.

- Splits ``validation`` and ``test``, slice ``clicked``: clicks, by their predicted conversion: ``auc``, ``log_loss``,
  ``calibration_ratio`` (predicted over true) and ``calibration_error``. Slice ``all``: ``ctr_auc``, the impressions by
  their predicted click, and ``ctcvr_auc``, by click and conversion; not of a model that predicts no click.
- Split ``unbiased``, slices ``all``, ``clicked`` and ``unclicked``: pairs drawn at random, by their predicted conversion
  *if clicked*, whether they were or not: the same four. Of a generated truth nobody drew an outcome, so each metric is
  the expectation over the true probabilities: a pair is a positive of weight p and a negative of weight 1 - p, and
  belongs to the clicked ones by the probability of its click.
- Slice ``delta_vs_DEFAULT_MODEL``: the paired difference to the default model, of every metric above that is of slice
  ``all`` or, in ``test``, ``clicked`` (no metric is of both).
- Slices ``calibration bin NN``: ``predicted`` and ``observed`` of tenths of the rows by predicted probability (of equal
  numbers of rows, for conversions are rare), of the clicks of split test and of all pairs of split unbiased.

Rows count by the reciprocal of their sampling rate. What is not defined (a day without a conversion) is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.hashing import keyed_hash
from roilake.lake import TABLES
from roilake.metrics.classification import Floats, Labelled, checked_probabilities
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.leakage import LEAKAGE_CHECK, SHUFFLED, shuffled_auc
from roilake.metrics.names import CONVERSION, IMPRESSION
from roilake.metrics.observed import observe_auc, observe_mean, observe_probable

BINS = 10
UNBIASED = "unbiased"
SLICES = ("all", "clicked", "unclicked")
Place = tuple[str, str]
"""Slice and metric."""


@dataclass(frozen=True)
class Judged:
    """What is known of the impressions of a split, by ``ids``: whether clicked and converted, NaN where nobody knows;
    of a generated truth, how probable it is. ``user_N`` numbers the users from 0."""

    ids: pa.Array
    user_N: NDArray[np.int64]
    users: int
    click_N: Floats
    conversion_N: Floats
    weight_N: Floats

    @classmethod
    def of(cls, impressions: pa.Table, truth: pa.Table | None = None) -> Judged:
        """From rows of table ``impressions`` (impression_id, user, click, conversion, sampling_rate) of one split, and
        rows of ``conversion_truth`` for those of the random split, if their truth is known. Raises MetricError where
        the two do not fit."""
        rows = impressions.sort_by("impression_id").combine_chunks()
        ids, users = _column(rows, "impression_id"), _column(rows, "user").dictionary_encode()
        click_N, conversion_N = (_floats(rows[name]) for name in ("click", "conversion"))
        if truth is not None and truth.num_rows:
            known = truth.sort_by("impression_id").combine_chunks()
            if not _column(known, "impression_id").equals(ids):
                raise MetricError(
                    f"conversion_truth holds {known.num_rows} of the {rows.num_rows} random pairs; run "
                    "build_impressions again"
                )
            names = ("click_probability", "conversion_probability")
            click_N, conversion_N = (_floats(known[name]) for name in names)
        weight_N = 1.0 / _floats(rows["sampling_rate"])
        user_N = users.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(ids, user_N, len(users.dictionary), click_N, conversion_N, weight_N)

    def slice_weights(self, name: str) -> Floats:
        """How much each row counts in a slice: by the probability that it belongs to it; not at all where nobody
        knows."""
        share_N = {"all": np.ones_like(self.click_N), "clicked": self.click_N, "unclicked": 1 - self.click_N}
        return self.weight_N * np.nan_to_num(share_N[name])


@dataclass(frozen=True)
class Scores:
    """What one model says of the impressions of a split, in the order of their ids; None where it predicts no click."""

    pcvr_N: Floats
    pctr_N: Floats | None = None
    pctcvr_N: Floats | None = None

    @classmethod
    def of(cls, rows: pa.Table, judged: Judged, model: str) -> Scores:
        """From rows of ``cvr_scores`` of one model and split. Raises MetricError when they are of other impressions."""
        rows = rows.sort_by("impression_id").combine_chunks()
        if not _column(rows, "impression_id").equals(judged.ids):
            raise MetricError(
                f"cvr_scores of {model} are of other impressions than those judged ({rows.num_rows} rows, "
                f"{len(judged.ids)} impressions): run score_conversions again"
            )
        clicks = [_floats(rows[name]) if rows[name].null_count == 0 else None for name in ("pctr", "pctcvr")]
        return cls(_floats(rows["pcvr"]), *clicks)


def measure(
    judged: Mapping[str, Judged],
    scores: Mapping[str, Mapping[str, Scores]],
    default_model: str,
    bootstrap: int,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``: by split what is known, and by split and model what was said.

    Intervals: DeLong with users as clusters for AUCs, else a bootstrap over users, both as ``retrieval.evaluation.measures``
    has them.
    """
    rows = []
    for split, known in sorted(judged.items()):
        draws = Draws(np.arange(known.users), bootstrap, seed)
        usual = observe(split, known, scores[split][default_model])
        for model, said in sorted(scores[split].items()):
            for (name, metric), found in _told(split, known, said, model, usual, default_model):
                rows.append(_row(model, split, name, metric, found.estimate(draws)))
            if split != UNBIASED:
                rows.append(_row(model, split, LEAKAGE_CHECK, SHUFFLED, shuffled(known, said, seed)))
    return pa.Table.from_pylist(
        [{"ds": ds, "run": run, **row} for row in rows], schema=TABLES["metrics"].arrow_schema
    )


def _told(
    split: str, known: Judged, said: Scores, model: str, usual: Mapping[Place, Observed], default_model: str
) -> Iterator[tuple[Place, Observed]]:
    own = observe(split, known, said)
    yield from own.items()
    if model != default_model:
        for (name, metric), found in own.items():
            paired = name == "all" or (name == "clicked" and split != UNBIASED)
            if paired and (name, metric) in usual:
                yield (f"delta_vs_{default_model}", metric), found.minus(usual[name, metric])  # type: ignore[arg-type]
    if split != "validation":
        yield from curve(known, said, "all" if split == UNBIASED else "clicked")


def observe(split: str, known: Judged, said: Scores) -> dict[Place, Observed]:
    """What each metric of a split is computed from, by slice and metric."""
    if split == UNBIASED:
        return {place: each for name in SLICES for place, each in _of_slice(known, said, name).items()}
    found = _of_slice(known, said, "clicked")
    if said.pctr_N is not None and said.pctcvr_N is not None:
        both_N = known.click_N * np.nan_to_num(known.conversion_N)
        parts = (known.click_N, said.pctr_N), (both_N, said.pctcvr_N)
        for metric, (label_N, score_N) in zip(IMPRESSION, parts, strict=True):
            data, user_E = examples(known, label_N, score_N, known.slice_weights("all"))
            found["all", metric] = observe_auc(data, user_E, known.users)
    return found


def _of_slice(known: Judged, said: Scores, name: str) -> dict[Place, Observed]:
    """The metrics of predicted conversions on a slice; none where nobody knows what belongs to it."""
    weight_N = known.slice_weights(name)
    rows = int((weight_N * ~np.isnan(known.conversion_N) > 0).sum())
    if name != "all" and np.isnan(known.click_N).all() and len(known.click_N):
        return {}
    data, user_E = examples(known, known.conversion_N, said.pcvr_N, weight_N)
    found: dict[Place, Observed] = {(name, "auc"): observe_auc(data, user_E, known.users)}
    for metric in CONVERSION[1:]:
        found[name, metric] = replace(observe_probable(metric, data, user_E, known.users), n=rows)
    return found


def examples(
    known: Judged, label_N: Floats, score_N: Floats, weight_N: Floats
) -> tuple[Labelled, NDArray[np.int64]]:
    """Positives by the weight of their label and negatives by what that leaves, and the user of each [E]; rows without
    a known label are left out."""
    mass_N = np.nan_to_num(weight_N * label_N), np.nan_to_num(weight_N * (1 - label_N))
    places = [np.flatnonzero(mass) for mass in mass_N]
    place_E = np.concatenate(places)
    labels_E = np.repeat([1.0, 0.0], [len(place) for place in places])
    weights_E = np.concatenate([mass[place] for mass, place in zip(mass_N, places, strict=True)])
    return checked_probabilities(labels_E, score_N[place_E], weights_E), known.user_N[place_E]


def curve(known: Judged, said: Scores, name: str) -> Iterator[tuple[Place, Observed]]:
    """Mean probability and share of conversions of each bin that holds rows."""
    weight_N = known.slice_weights(name)
    chosen = np.flatnonzero((weight_N > 0) & ~np.isnan(known.conversion_N))
    if not len(chosen):
        return
    score, label, weight, user = (
        each[chosen] for each in (said.pcvr_N, known.conversion_N, weight_N, known.user_N)
    )
    edges = np.unique(np.quantile(score, np.arange(1, BINS) / BINS))
    bin_C = np.searchsorted(edges, score, side="right")
    for number in np.unique(bin_C):
        mine = bin_C == number
        for metric, values in (("predicted", score), ("observed", label)):
            place = f"calibration bin {number + 1:02d}", metric
            yield place, observe_mean(values[mine], user[mine], known.users, weight[mine])


def shuffled(known: Judged, said: Scores, seed: int) -> Estimate:
    """AUC of the predicted conversions of clicks against their labels dealt out anew."""
    clicked = np.flatnonzero((known.click_N == 1) & ~np.isnan(known.conversion_N))
    return shuffled_auc(known.conversion_N[clicked], said.pcvr_N[clicked], keyed_hash(seed, clicked))


def _row(model: str, split: str, name: str, metric: str, found: Estimate) -> dict[str, object]:
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    told = {key: None if np.isnan(number) else number for key, number in numbers.items()}
    return {"model": model, "split": split, "slice": name, "metric": metric, "n": found.n, **told}


def _column(rows: pa.Table, name: str) -> pa.Array:
    column = rows[name]
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    """NaN for null."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), np.float64)
