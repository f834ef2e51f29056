"""Exact classification metrics: sorted, never binned; a tie counts a half; float64 throughout; weights
optional.

Shapes: labels, scores and weights are [N] arrays or CPU tensors. ``labels`` are 0 or 1, ``scores`` any finite
number (a probability in [0, 1] where the name says so). Bad input raises MetricError; a value that the data
leaves undefined (one class only, nothing at all) is NaN. Checked against scikit-learn, scipy and torchmetrics
in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roilake.errors import MetricError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Checked input of a metric: float64 [N] each."""

    labels: Floats
    scores: Floats
    weights: Floats

    @property
    def both_classes(self) -> bool:
        positive = self.weights @ self.labels
        return bool(positive > 0 and self.weights.sum() - positive > 0)


def checked(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Labelled:
    """The three as float64 arrays of one length. MetricError for NaN or infinite scores, labels other than 0
    and 1, negative or non-finite weights, or unequal lengths."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    if not (y.ndim == 1 and y.shape == s.shape == w.shape):
        raise MetricError(
            f"labels {y.shape}, scores {s.shape} and weights {w.shape} must be equally long lists"
        )
    _refuse(~np.isfinite(s), s, "scores must be finite")
    _refuse((y != 0) & (y != 1), y, "labels must be 0 or 1")
    _refuse(~(np.isfinite(w) & (w >= 0)), w, "weights must be finite and not negative")
    return Labelled(y, s, w)


def checked_probabilities(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Labelled:
    """As ``checked``; scores outside [0, 1] are refused as well."""
    data = checked(labels, scores, weights)
    _refuse((data.scores < 0) | (data.scores > 1), data.scores, "probabilities must lie in [0, 1]")
    return data


def _refuse(bad: NDArray[np.bool_], values: Floats, rule: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise MetricError(f"{rule}: row {row} holds {values[row]} ({int(bad.sum())} such rows)")


def _by_threshold(data: Labelled) -> tuple[Floats, Floats]:
    """Summed weight of positives and negatives at each distinct score, ascending."""
    order = np.argsort(data.scores, kind="stable")
    s, y, w = data.scores[order], data.labels[order], data.weights[order]
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]]) if len(s) else np.zeros(0, np.int64)
    if not len(s):
        return np.zeros(0), np.zeros(0)
    return np.add.reduceat(w * y, starts), np.add.reduceat(w * (1 - y), starts)


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve = P(s_pos > s_neg) + P(s_pos = s_neg) / 2 (Mann-Whitney). NaN with one class
    only."""
    data = checked(labels, scores, weights)
    if not data.both_classes:
        return float("nan")
    positive, negative = _by_threshold(data)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2) / (positive.sum() * negative.sum()))


def grouped_auc(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """GAUC: mean of the AUC within each group, weighted by the group's summed weight. Groups of one class are
    left out (their AUC is undefined); NaN if none is left."""
    data, keys = checked(labels, scores, weights), np.asarray(groups)
    if keys.shape != data.labels.shape:
        raise MetricError(f"groups {keys.shape} must be as long as labels {data.labels.shape}")
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    total = mass = 0.0
    for rows in np.split(order, cuts):
        value = auc(data.labels[rows], data.scores[rows], data.weights[rows])
        if not np.isnan(value):
            weight = float(data.weights[rows].sum())
            total, mass = total + weight * value, mass + weight
    return total / mass if mass else float("nan")


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """PR-AUC as the step sum of (R_t - R_{t-1}) P_t over thresholds (as scikit-learn). NaN without
    positives."""
    data = checked(labels, scores, weights)
    positive, negative = (side[::-1] for side in _by_threshold(data))
    if not positive.sum() > 0:
        return float("nan")
    hits, shown = np.cumsum(positive), np.cumsum(positive + negative)
    precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
    return float(positive @ precision / positive.sum())


def log_loss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of -(y ln p + (1 - y) ln(1 - p)) in nats; p clipped to [eps, 1 - eps] of float64. NaN when
    empty."""
    data = checked_probabilities(labels, probabilities, weights)
    eps = np.finfo(np.float64).eps
    p = np.clip(data.scores, eps, 1 - eps)
    return _mean(-(data.labels * np.log(p) + (1 - data.labels) * np.log1p(-p)), data.weights)


def normalised_entropy(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Log-loss over that of the base rate (He et al. 2014, ADKDD); 1 = no better than the mean. NaN with one
    class."""
    data = checked_probabilities(labels, probabilities, weights)
    if not data.both_classes:
        return float("nan")
    rate = _mean(data.labels, data.weights)
    base = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    return log_loss(data.labels, data.scores, data.weights) / float(base)


def brier(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of (p - y)^2. NaN when empty."""
    data = checked_probabilities(labels, probabilities, weights)
    return _mean((data.scores - data.labels) ** 2, data.weights)


def kolmogorov_smirnov(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """max over thresholds of |TPR - FPR|. NaN with one class only."""
    data = checked(labels, scores, weights)
    if not data.both_classes:
        return float("nan")
    positive, negative = _by_threshold(data)
    gap = np.cumsum(positive) / positive.sum() - np.cumsum(negative) / negative.sum()
    return float(np.abs(gap).max())


def calibration_ratio(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Sum of p over sum of y; 1 = right on average. NaN without positives."""
    data = checked_probabilities(labels, probabilities, weights)
    happened = data.weights @ data.labels
    return float(data.weights @ data.scores / happened) if happened > 0 else float("nan")


def calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, bins: int = 15
) -> float:
    """ECE over ``bins`` equal-width bins [lo, hi), the last one closed: sum of (W_b / W) |mean p - mean
    y|."""
    data = checked_probabilities(labels, probabilities, weights)
    index = np.clip(np.digitize(data.scores, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    gap = np.bincount(index, data.weights * (data.scores - data.labels), bins)
    mass = float(data.weights.sum())
    return float(np.abs(gap).sum() / mass) if mass else float("nan")


def _mean(values: Floats, weights: Floats) -> float:
    mass = float(weights.sum())
    return float(values @ weights) / mass if mass else float("nan")
