"""Intervals: DeLong against its definition, coverage by simulation, exact repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from roilake.metrics import Estimate, measure_arrays
from roilake.metrics.intervals import Z95, Draws, poisson_weights
from roilake.metrics.leakage import shuffled_auc
from roilake.metrics.observed import observe_mean


def auc_estimate(y: ArrayLike, s: ArrayLike, users: ArrayLike | None = None) -> Estimate:
    return measure_arrays(y, s, ["auc"], users=users)["auc"]


def auc_difference(y: ArrayLike, s: ArrayLike, others: ArrayLike) -> Estimate:
    return measure_arrays(y, s, ["auc"], others=others)["auc"]


def mean_estimate(values: ArrayLike, users: ArrayLike, *, draws: int, seed: int) -> Estimate:
    names, user_N = np.unique(np.asarray(users, np.int64), return_inverse=True)
    found = observe_mean(np.asarray(values, np.float64), user_N, len(names))
    return found.estimate(Draws(names, draws, seed))


def binormal(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    return labels, np.round(rng.normal(size=n) + labels, 1), np.round(rng.normal(size=n) + 0.5 * labels, 1)


def naive_delong(y: np.ndarray, s: np.ndarray) -> float:
    psi = (s[y][:, None] > s[~y][None, :]) + 0.5 * (s[y][:, None] == s[~y][None, :])
    return psi.mean(1).var(ddof=1) / y.sum() + psi.mean(0).var(ddof=1) / (~y).sum()


def test_delong_is_its_definition() -> None:
    y, s, _ = binormal(0, 200)
    found = auc_estimate(y, s)
    assert found.value == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    reach = Z95 * np.sqrt(naive_delong(y, s)) / (found.value * (1 - found.value))
    assert logit(found.high) - logit(found.value) == pytest.approx(reach, abs=1e-9)
    assert logit(found.value) - logit(found.low) == pytest.approx(reach, abs=1e-9)
    assert found.n == y.sum()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_no_interval_leaves_what_there_can_be(rows: list[tuple[bool, int, int]]) -> None:
    """Of AUC, PR-AUC and coverage in [0, 1], of their differences in [-1, 1]."""
    y, s, t = map(np.array, zip(*rows, strict=True))
    place = {"requests": np.arange(len(y)), "items": s, "events": np.ones(5)}
    names = ["auc", "pr_auc", "coverage@1"]
    for low, found in ((0, measure_arrays(y, s, names, **place)), (-1, measure_arrays(y, s, names, others=t, **place))):
        for each in found.values():
            assert np.isnan(each.low) or low <= each.low <= each.value <= each.high <= 1
    shuffled = shuffled_auc(y, s, t)
    assert np.isnan(shuffled.value) or 0 <= shuffled.low <= shuffled.value <= shuffled.high <= 1


def test_intervals_of_few_rows_cover_a_high_auc() -> None:
    """Value +- half a width covers it 81 times in 100, cut at 1 or not."""
    truth, covered = norm.cdf(1.8124 / np.sqrt(2)), 0  # 0.9 for scores that far apart
    for seed in range(300):
        rng, y = np.random.default_rng(seed), np.arange(20) % 2 == 0
        found = auc_estimate(y, rng.normal(size=20) + 1.8124 * y)
        covered += found.low <= truth <= found.high
    assert 264 <= covered <= 297


def test_copied_rows_do_not_narrow_a_clustered_interval() -> None:
    y, s, _ = binormal(1, 120)
    once, copied = auc_estimate(y, s), auc_estimate(np.tile(y, 9), np.tile(s, 9), np.tile(np.arange(120), 9))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.02)
    naive = auc_estimate(np.tile(y, 9), np.tile(s, 9))
    assert naive.high - naive.low < 0.4 * (once.high - once.low)


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    truth, covered, mean_covered = norm.cdf(1 / np.sqrt(2)), 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.arange(150) % 3 == 0
        found = auc_estimate(y, rng.normal(size=150) + y)
        covered += found.low <= truth <= found.high
        users = np.repeat(np.arange(60), 4)
        values = rng.normal(size=60)[users] + rng.normal(size=240)
        mean = mean_estimate(values, users, draws=200, seed=seed)
        mean_covered += mean.low <= 0 <= mean.high
    assert 178 <= covered <= 199
    assert 178 <= mean_covered <= 199


def test_paired_differences_are_narrower_than_apart() -> None:
    y, s, t = binormal(2, 300)
    better = s + 0.3 * y
    paired = auc_difference(y, better, s)
    assert paired.value == pytest.approx(auc_estimate(y, better).value - auc_estimate(y, s).value)
    assert paired.low > 0
    assert auc_difference(y, s, s).high == 0
    assert auc_difference(y, s, t).low == pytest.approx(-auc_difference(y, t, s).high)
    users = np.arange(300) % 40
    alone = mean_estimate(s, users, draws=200, seed=0)
    diff = mean_estimate(s + 0.1 - s, users, draws=200, seed=0)
    assert diff.value == pytest.approx(0.1)
    assert diff.high - diff.low < 0.01 * (alone.high - alone.low)


def test_bootstrap_repeats_and_depends_on_no_order() -> None:
    rng = np.random.default_rng(3)
    values, users = rng.random(500), rng.integers(0, 50, 500)
    order = rng.permutation(500)
    first = mean_estimate(values, users, draws=100, seed=1)
    again = mean_estimate(values[order], users[order], draws=100, seed=1)
    assert (again.value, again.low, again.high) == pytest.approx((first.value, first.low, first.high), abs=1e-12)
    assert mean_estimate(values, users, draws=100, seed=2).low != first.low
    weights = poisson_weights(np.arange(20_000), 20, 0)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)


def test_what_is_undefined_is_nan() -> None:
    empty = mean_estimate([], [], draws=10, seed=0)
    assert empty.n == 0
    assert np.isnan(empty.value)
    lone = mean_estimate([1.0, 0.0, np.nan], [5, 5, 5], draws=10, seed=0)
    assert (lone.value, lone.n) == (0.5, 2)
    assert np.isnan([lone.low, lone.high]).all()
    one_class = auc_estimate([1, 1], [0.2, 0.3])
    assert np.isnan(one_class.value)
    assert np.isnan(auc_estimate([1, 0, 0], [0.2, 0.3, 0.1], [0, 0, 0]).low)
