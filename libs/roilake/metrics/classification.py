"""Exact classification metrics: sorted, never binned; a tie counts a half; float64 throughout; weights optional.

Shapes: labels, scores and weights are [N] arrays or tensors (computed on the tensors' device). ``labels`` are 0
or 1, ``scores`` any finite number (a probability in [0, 1] where the name says so). A row of weight 2 counts as
two rows. Bad input raises MetricError; a value that the data leaves undefined (one class only, nothing at all)
is NaN. Checked against scikit-learn, scipy and torchmetrics in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, floats, namespace, runs, sums

Floats = NDArray[np.float64]
BINS = 15
"""Equal-width bins of the calibration error."""
ROUNDING = 1e-12
"""Shares that differ by less are equal: sums in another order give either."""


@dataclass(frozen=True)
class Labelled:
    """Checked input of a metric: float64 [N] each."""

    labels: Array
    scores: Array
    weights: Array

    @property
    def masses(self) -> tuple[Array, Array]:
        """The weight that each row has as a positive, and as a negative."""
        return self.weights * self.labels, self.weights * (1 - self.labels)

    @property
    def positives(self) -> int:
        """How many rows are positive."""
        return int(self.labels.sum())

    @cached_property
    def steps(self) -> Steps:
        """The rows by distinct score; sorted once for all metrics."""
        return Steps.of(self)


def checked(labels: Any, scores: Any, weights: Any = None) -> Labelled:
    """The three as float64 of one length. MetricError for NaN or infinite scores, labels other than 0 and 1,
    negative or non-finite weights, or unequal lengths."""
    like = next((each for each in (scores, labels, weights) if namespace(each) is not np), None)
    y, s = floats(labels, like, "labels"), floats(scores, like, "scores")
    w = namespace(y).ones_like(y) if weights is None else floats(weights, like, "weights")
    if not (y.ndim == 1 and y.shape == s.shape == w.shape):
        shapes = [tuple(each.shape) for each in (y, s, w)]
        raise MetricError(f"labels {shapes[0]}, scores {shapes[1]} and weights {shapes[2]} must be equally long lists")
    xp = namespace(y)
    refuse(~xp.isfinite(s), s, "scores must be finite")
    refuse((y != 0) & (y != 1), y, "labels must be 0 or 1")
    refuse(~(xp.isfinite(w) & (w >= 0)), w, "weights must be finite and not negative")
    return Labelled(y, s, w)


def checked_probabilities(labels: Any, scores: Any, weights: Any = None) -> Labelled:
    """As ``checked``; scores outside [0, 1] are refused as well."""
    data = checked(labels, scores, weights)
    refuse((data.scores < 0) | (data.scores > 1), data.scores, "probabilities must lie in [0, 1]")
    return data


def refuse(bad: Array, values: Array, rule: str) -> None:
    """MetricError with the rule and the first of the rows that break it [N]."""
    if bad.any():
        row = int(bad.nonzero()[0].ravel()[0])
        raise MetricError(f"{rule}: row {row} holds {float(values[row])} ({int(bad.sum())} such rows)")


@dataclass(frozen=True)
class Steps:
    """Summed weight of positives and negatives at each distinct score [T], ascending, and the step of each row
    [N]. ``below`` and ``total`` hold the (positive, negative) weight under these steps and in all: more than
    what is here when the rows are one range of a larger table's scores."""

    positive_T: Array
    negative_T: Array
    step_N: Array
    below: tuple[float, float]
    total: tuple[float, float]

    @classmethod
    def of(
        cls, data: Labelled, below: tuple[float, float] = (0.0, 0.0), total: tuple[float, float] | None = None
    ) -> Steps:
        """Sort labelled rows [N]."""
        order = namespace(data.scores).argsort(data.scores)
        step = runs(data.scores[order])
        size = int(step[-1]) + 1 if len(step) else 0
        step_N = namespace(step).empty_like(step)
        step_N[order] = step
        positive_T, negative_T = (sums(step, mass[order], size) for mass in data.masses)
        own = float(positive_T.sum()), float(negative_T.sum())
        return cls(positive_T, negative_T, step_N, below, total or own)

    @property
    def defined(self) -> bool:
        """Whether both classes have weight."""
        return min(self.total) > 0

    def area(self) -> float:
        """AUC; NaN with one class only."""
        if not self.defined:
            return float("nan")
        return float(self.positive_T @ self.beaten() / (self.total[0] * self.total[1]))

    def beaten(self) -> Array:
        """For a positive row the weight of the negatives that it beats [T], ties a half."""
        return self.below[1] + self.negative_T.cumsum(0) - self.negative_T / 2

    def beating(self) -> Array:
        """For a negative row the weight of the positives that beat it [T], ties a half."""
        return self.total[0] - self.below[0] - self.positive_T.cumsum(0) + self.positive_T / 2

    @property
    def widest(self) -> int:
        """The lowest step with the largest gap, up to rounding."""
        gaps_T = abs(self.gaps())
        return int((gaps_T >= gaps_T.max() - ROUNDING).nonzero()[0].ravel()[0])

    def gaps(self) -> Array:
        """TPR - FPR [T] when all scores above the step's are called positive, with the sign turned."""
        positive = (self.below[0] + self.positive_T.cumsum(0)) / self.total[0]
        return positive - (self.below[1] + self.negative_T.cumsum(0)) / self.total[1]

    def shown(self) -> tuple[Array, Array]:
        """Positives and all at this score or a higher one [T]."""
        hits = self.total[0] - self.below[0] - self.positive_T.cumsum(0) + self.positive_T
        others = self.total[1] - self.below[1] - self.negative_T.cumsum(0) + self.negative_T
        return hits, hits + others

    def precision(self) -> Array:
        """Share of positives among the rows at this score or a higher one [T]; 0 where there is no weight."""
        hits, shown = self.shown()
        xp = namespace(hits)
        return xp.where(shown > 0, hits / xp.where(shown > 0, shown, xp.ones_like(shown)), 0.0)


def auc(labels: Any, scores: Any, weights: Any = None) -> float:
    """Area under the ROC curve = P(s_pos > s_neg) + P(s_pos = s_neg) / 2 (Mann-Whitney). NaN with one class only."""
    return checked(labels, scores, weights).steps.area()


@dataclass(frozen=True)
class GroupWeight:
    """How much a group counts in GAUC: ``of`` the weights of its positives and negatives. A group of one class, whose
    AUC is undefined, has no part in it or, with ``one_class``, an AUC of a half. Serves arrays and Spark columns."""

    of: Callable[[Any, Any], Any]
    one_class: bool = False


GAUC = {
    "gauc": GroupWeight(lambda positive, negative: positive + negative),
    "gauc_positives": GroupWeight(lambda positive, negative: positive),
    "gauc_none": GroupWeight(lambda positive, negative: 0 * positive + 1),
    "gauc_half": GroupWeight(lambda positive, negative: positive + negative, one_class=True),
}
"""By the metric's name."""


def area_by_group(data: Labelled, group_N: Array, size: int, weight: GroupWeight) -> Array:
    """(AUC of the group times its weight, its weight) [G, 2]. Their ratio, summed over groups, is GAUC (Zhou et al.
    2018, KDD, eq. 12)."""
    xp = namespace(data.scores)
    key_N = group_N * max(len(data.steps.positive_T), 1) + data.steps.step_N
    steps = Labelled(data.labels, key_N, data.weights).steps
    group_T = xp.zeros_like(steps.step_N[: len(steps.positive_T)])
    group_T[steps.step_N] = group_N
    positive_G, negative_G = (sums(group_T, each, size) for each in (steps.positive_T, steps.negative_T))
    before_G = negative_G.cumsum(0) - negative_G
    pairs_G = positive_G * negative_G
    won_G = sums(group_T, steps.positive_T * (steps.beaten() - before_G[group_T]), size)
    value_G = xp.where(pairs_G > 0, won_G / xp.where(pairs_G > 0, pairs_G, 1.0), 0.5)
    counted_G = (positive_G + negative_G > 0) if weight.one_class else (pairs_G > 0)
    weight_G = xp.where(counted_G, weight.of(positive_G, negative_G), 0.0)
    return xp.stack([value_G * weight_G, weight_G], 1)


@dataclass(frozen=True)
class Sums:
    """A metric of probabilities that is a function of sums over rows: ``columns`` gives what is summed, [N, C];
    ``value`` the metric from the sums [..., C], NaN where it is undefined."""

    columns: Callable[[Labelled], Array]
    value: Callable[[Any], Any]

    def __call__(self, labels: Any, probabilities: Any, weights: Any = None) -> float:
        """The metric of all rows [N]. MetricError as in ``checked_probabilities``."""
        sums_C = self.columns(checked_probabilities(labels, probabilities, weights)).sum(0)
        return float(self.value(np.asarray(sums_C.tolist())))


def ratio(totals: Any) -> Any:
    """First over second; NaN where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return totals[..., 0] / np.where(totals[..., 1] == 0, np.nan, totals[..., 1])


def gap(totals: Any) -> Any:
    """|TPR - FPR| from (positives up to the threshold, positives, negatives up to it, negatives)."""
    return abs(ratio(totals[..., :2]) - ratio(totals[..., 2:]))


def _entropy(totals: Any) -> Any:
    """From sums (loss, positives, all) [..., 3]."""
    rate = ratio(totals[..., [1, 2]])
    with np.errstate(divide="ignore", invalid="ignore"):
        base = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        return ratio(totals[..., [0, 2]]) / np.where((rate > 0) & (rate < 1), base, np.nan)


def _binned(totals: Any) -> Any:
    """From sums (gap of each bin ..., all) [..., BINS + 1]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return abs(totals[..., :-1]).sum(-1) / np.where(totals[..., -1] == 0, np.nan, totals[..., -1])


def _loss(data: Labelled) -> Array:
    """Weight times cross-entropy of each row [N]."""
    xp, eps = namespace(data.scores), float(np.finfo(np.float64).eps)
    p = xp.clip(data.scores, eps, 1 - eps)
    return -(data.labels * xp.log(p) + (1 - data.labels) * xp.log1p(-p)) * data.weights


def bin_of(probabilities: Array) -> Array:
    """The one of BINS equal-width bins [lo, hi) of each probability [N], the last one closed."""
    xp = namespace(probabilities)
    edges = floats(np.linspace(0, 1, BINS + 1), probabilities)
    return xp.clip(xp.searchsorted(edges, probabilities, side="right") - 1, 0, BINS - 1)


def _stack(*columns: Array) -> Array:
    return namespace(*columns).stack(columns, 1)


def _gaps_by_bin(data: Labelled) -> Array:
    """Weight times (p - y) in the column of the row's bin, and the weight [N, BINS + 1]."""
    xp, index = namespace(data.scores), bin_of(data.scores)
    gaps = data.weights * (data.scores - data.labels)
    return _stack(*(xp.where(index == number, gaps, 0.0) for number in range(BINS)), data.weights)


log_loss = Sums(lambda d: _stack(_loss(d), d.weights), ratio)
"""Mean of -(y ln p + (1 - y) ln(1 - p)) in nats; p clipped to [eps, 1 - eps] of float64. NaN when empty."""
normalised_entropy = Sums(lambda d: _stack(_loss(d), d.weights * d.labels, d.weights), _entropy)
"""Log-loss over that of the base rate (He et al. 2014, ADKDD); 1 = no better than the mean. NaN with one class."""
brier = Sums(lambda d: _stack(d.weights * (d.scores - d.labels) ** 2, d.weights), ratio)
"""Mean of (p - y)^2. NaN when empty."""
calibration_ratio = Sums(lambda d: _stack(d.weights * d.scores, d.weights * d.labels), ratio)
"""Sum of p over sum of y; 1 = right on average. NaN without positives."""
calibration_error = Sums(_gaps_by_bin, _binned)
"""ECE over BINS equal-width bins [lo, hi), the last one closed: sum of (W_b / W) |mean p - mean y|. NaN when empty."""
