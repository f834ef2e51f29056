"""Scores as probabilities: a logistic map of one model's scores, fitted where it is not evaluated; and their curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.metrics.classification import Floats, Labelled
from roilake.metrics.intervals import Summed
from roilake.metrics.observed import observe_mean
from roilake.metrics.slices import calibration_bin

STEPS, TOLERANCE = 100, 1e-12


@dataclass(frozen=True)
class LogisticMap:
    """p = 1 / (1 + exp(-(slope * s + shift)))."""

    slope: float
    shift: float

    def __call__(self, scores: Floats) -> Floats:
        logits = self.slope * scores + self.shift
        return np.exp(-np.logaddexp(0.0, -logits))


def fit_logistic(labels: Floats, scores: Floats) -> LogisticMap | None:
    """Platt scaling (Platt 1999, with his targets (n+ + 1)/(n+ + 2) and 1/(n- + 2), so that it is finite for classes
    that do not overlap) by Newton steps on standardised scores. None with one class only."""
    if not (np.isfinite(scores).all() and np.isin(labels, (0, 1)).all()):
        raise MetricError("calibration: scores must be finite and labels 0 or 1")
    positives, count = float(labels.sum()), len(labels)
    if not 0 < positives < count:
        return None
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (count - positives + 2))
    centre, spread = float(scores.mean()), float(scores.std())
    if spread <= 1e-12 * max(1.0, abs(centre)):
        spread = np.inf  # all scores equal: only the shift is fitted
    x_NC = np.stack([(scores - centre) / spread, np.ones(count)], 1)
    slope, shift = _newton(x_NC, targets)
    return LogisticMap(slope / spread, shift - slope * centre / spread)


def _newton(x_NC: Floats, targets: Floats) -> tuple[float, float]:
    """Minimum of the cross-entropy plus a ridge of 1e-9, from the base rate on; steps are halved until they help."""
    rate = targets.mean()
    theta = np.array([0.0, np.log(rate / (1 - rate))])
    value = _loss(x_NC, targets, theta)
    for _ in range(STEPS):
        p = np.exp(-np.logaddexp(0.0, -(x_NC @ theta)))
        slope = x_NC.T @ (p - targets)
        curve = (x_NC * (p * (1 - p))[:, None]).T @ x_NC + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        while (found := _loss(x_NC, targets, theta - step)) > value and np.abs(step).max() > TOLERANCE:
            step = step / 2
        if found >= value or np.abs(step).max() < TOLERANCE:
            break
        theta, value = theta - step, found
    return float(theta[0]), float(theta[1])


def _loss(x_NC: Floats, targets: Floats, theta: Floats) -> float:
    logits = x_NC @ theta
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())


def calibration_curve(
    data: Labelled, bin_E: NDArray[np.int64], user_E: NDArray[np.int64], users: int
) -> Iterator[tuple[tuple[str, str], Summed]]:
    """By (slice, metric) of each bin that holds rows: ``predicted``, their mean probability, and ``observed``, their
    mean label. ``bin_E`` and ``user_E`` number the bin and the user of each row [E] from 0."""
    for number in np.unique(bin_E):
        mine = bin_E == number
        for metric, values_E in (("predicted", data.scores), ("observed", data.labels)):
            found = observe_mean(values_E[mine], user_E[mine], users, data.weights[mine])
            yield (calibration_bin(number + 1), metric), found
