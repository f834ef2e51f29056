"""95 % intervals that repeat exactly: DeLong for AUC (by clusters), Poisson bootstrap by keyed hash for
means.

A cluster is what is drawn independently, here a user: their requests hang together, so rows are not
independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roilake.errors import MetricError
from roilake.evaluation.metrics import Floats, Labelled, checked
from roilake.hashing import uniform

Z95 = 1.959963984540054
BLOCK = 1 << 16


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the number n of rows it rests on. NaN marks what is undefined: the
    value when there is nothing to measure, the bounds when there are fewer than two clusters."""

    value: float
    low: float
    high: float
    n: int


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"), 0)


def auc_estimate(labels: ArrayLike, scores: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """AUC and its interval by DeLong et al. (1988), with correlated rows within a cluster by Obuchowski
    (1997, Biometrics 53:567). Without ``clusters`` each row is its own, which is plain DeLong. n counts the
    positives. A perfect AUC has variance 0 by this method, so its interval has no width."""
    data = checked(labels, scores)
    if not data.both_classes:
        return Estimate(float("nan"), float("nan"), float("nan"), int(data.labels.sum()))
    parts = _components(data)
    value = float(parts[data.labels == 1].mean())
    return _normal(value, _variance(parts - value, data.labels, clusters), int(data.labels.sum()))


def auc_difference(
    labels: ArrayLike, scores: ArrayLike, others: ArrayLike, clusters: ArrayLike | None = None
) -> Estimate:
    """AUC of ``scores`` minus that of ``others`` on the same rows, with the interval of the *paired*
    difference."""
    ours, theirs = checked(labels, scores), checked(labels, others)
    if not ours.both_classes:
        return UNDEFINED
    parts = _components(ours) - _components(theirs)
    value = float(parts[ours.labels == 1].mean())
    return _normal(value, _variance(parts - value, ours.labels, clusters), int(ours.labels.sum()))


def _components(data: Labelled) -> Floats:
    """Structural components: for a positive the share of negatives it beats, for a negative the share of
    positives that beat it (ties a half)."""
    result = np.empty_like(data.scores)
    positive, negative = data.scores[data.labels == 1], data.scores[data.labels == 0]
    result[data.labels == 1] = _beaten(negative, positive)
    result[data.labels == 0] = 1 - _beaten(positive, negative)
    return result


def _beaten(by: Floats, scores: Floats) -> Floats:
    ordered = np.sort(by)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (
        2 * len(by)
    )


def _variance(centred: Floats, labels: Floats, clusters: ArrayLike | None) -> float:
    """Obuchowski's variance from centred components; NaN with fewer than two clusters of either class."""
    keys = (
        np.arange(len(labels))
        if clusters is None
        else np.unique(np.asarray(clusters), return_inverse=True)[1]
    )
    count = int(keys.max()) + 1
    positive, negative = (np.bincount(keys, centred * (labels == side), count) for side in (1, 0))
    holders = [len(np.unique(keys[labels == side])) for side in (1, 0)]
    if min(holders) < 2:
        return float("nan")
    m, n = float(labels.sum()), float(len(labels) - labels.sum())
    spread = [h / (h - 1) * float(s @ s) for h, s in zip(holders, (positive, negative), strict=True)]
    shared = count / (count - 1) * float(positive @ negative)
    return max(spread[0] / m**2 + spread[1] / n**2 + 2 * shared / (m * n), 0.0)


def _normal(value: float, variance: float, n: int) -> Estimate:
    half = Z95 * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half, n)


def mean_estimate(values: ArrayLike, clusters: ArrayLike, *, draws: int, seed: int) -> Estimate:
    """Mean of the values that are not NaN, and the 2.5 % and 97.5 % quantiles of a Poisson bootstrap over
    clusters (Hanley and MacGibbon 2006): each cluster enters a draw Poisson(1) times, by a hash of (seed,
    cluster, draw). So the interval repeats, and two models see the same draws. ``clusters`` are integers. n
    counts the values."""
    v, keys = np.asarray(values, np.float64), np.asarray(clusters, np.int64)
    if v.shape != keys.shape or v.ndim != 1:
        raise MetricError(f"values {v.shape} and clusters {keys.shape} must be equally long lists")
    if np.isinf(v).any():
        raise MetricError(f"values must be finite: row {int(np.argmax(np.isinf(v)))} is infinite")
    v, keys = v[~np.isnan(v)], keys[~np.isnan(v)]
    if not len(v):
        return UNDEFINED
    names, index = np.unique(keys, return_inverse=True)
    sums, counts = (np.bincount(index, each).astype(np.float64) for each in (v, np.ones_like(v)))
    low, high = _quantiles(names, sums, counts, draws, seed)
    return Estimate(float(v.mean()), low, high, len(v))


def mean_difference(
    values: ArrayLike, others: ArrayLike, clusters: ArrayLike, *, draws: int, seed: int
) -> Estimate:
    """Mean of ``values - others``, row by row, with the interval of the paired difference."""
    return mean_estimate(np.subtract(values, others, dtype=np.float64), clusters, draws=draws, seed=seed)


def _quantiles(
    names: NDArray[np.int64], sums: Floats, counts: Floats, draws: int, seed: int
) -> tuple[float, float]:
    if len(names) < 2 or draws < 2:
        return float("nan"), float("nan")
    top, bottom = np.zeros(draws), np.zeros(draws)
    for start in range(0, len(names), BLOCK):  # bounds memory to draws x BLOCK weights
        part = slice(start, start + BLOCK)
        weights = poisson_weights(names[part], draws, seed)
        top, bottom = top + weights @ sums[part], bottom + weights @ counts[part]
    means = top[bottom > 0] / bottom[bottom > 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def poisson_weights(clusters: NDArray[np.int64], draws: int, seed: int) -> Floats:
    """Poisson(1) counts [draws, clusters], each a function of (seed, cluster, draw) alone."""
    chance = uniform(seed, clusters[None, :], np.arange(draws)[:, None])
    terms = 1 / np.cumprod(np.r_[1.0, np.arange(1.0, 18.0)])
    return np.searchsorted(np.exp(-1) * np.cumsum(terms), chance, "right").astype(np.float64)
