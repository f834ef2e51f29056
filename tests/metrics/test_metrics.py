"""Classification metrics against scikit-learn, scipy and torchmetrics; bad input is refused, never
averaged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from roilake.errors import MetricError
from roilake.metrics import classification as m
from roilake.metrics import measure_arrays
from roilake.metrics.calibration import calibration_curve as our_curve
from roilake.metrics.intervals import Draws


def measured(name: str) -> Callable[..., float]:
    """The metric of a night, as a function of labels, scores and weights."""
    return lambda y, s, w=None, **given: measure_arrays(y, s, [name], weights=w, **given)[name].value


average_precision, kolmogorov_smirnov, grouped_auc = map(measured, ("pr_auc", "ks", "gauc"))


def sample(seed: int, n: int = 300, levels: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, tied probabilities and weights (some zero)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.clip((rng.integers(0, levels, n) + labels) / (levels + 1) + 0.01, 0, 1)
    return labels, scores, rng.integers(0, 4, n) * rng.random(n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_scikit_learn_with_ties_and_weights(seed: int, weighted: bool) -> None:
    y, p, w = sample(seed)
    w = w if weighted else None
    rate = np.average(y, weights=w)
    entropy = sk.log_loss(y, np.full(len(y), rate), sample_weight=w)
    pairs = [
        (m.auc(y, p, w), sk.roc_auc_score(y, p, sample_weight=w)),
        (average_precision(y, p, w), sk.average_precision_score(y, p, sample_weight=w)),
        (m.log_loss(y, p, w), sk.log_loss(y, p, sample_weight=w)),
        (m.brier(y, p, w), sk.brier_score_loss(y, p, sample_weight=w)),
        (m.normalised_entropy(y, p, w), sk.log_loss(y, p, sample_weight=w) / entropy),
        (m.calibration_ratio(y, p, w), np.average(p, weights=w) / rate),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, abs=1e-9)


def test_unweighted_ks_and_calibration_error_equal_the_libraries() -> None:
    y, p, _ = sample(7)
    assert kolmogorov_smirnov(y, p) == pytest.approx(stats.ks_2samp(p[y == 1], p[y == 0]).statistic, abs=1e-9)
    theirs = binary_calibration_error(torch.tensor(p), torch.tensor(y), n_bins=15)
    assert m.calibration_error(y, p) == pytest.approx(float(theirs), abs=1e-9)


def test_weight_two_is_the_row_twice() -> None:
    y, p, _ = sample(3)
    twice = np.arange(len(y)) % 3 == 0
    rows = np.r_[np.arange(len(y)), np.flatnonzero(twice)]
    for metric in (m.auc, average_precision, m.log_loss, m.brier, kolmogorov_smirnov, m.calibration_error):
        assert metric(y, p, 1.0 + twice) == pytest.approx(metric(y[rows], p[rows]), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_won(rows: list[tuple[int, int]]) -> None:
    y, s = np.array(rows).T
    wins = [(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]
    assert m.auc(y, s) == pytest.approx(np.mean(wins) if wins else np.nan, abs=1e-12, nan_ok=True)


def test_gauc_skips_groups_of_one_class_and_weighs_by_size() -> None:
    y = [1, 0, 1, 0, 0, 1, 1]
    s = [2.0, 1.0, 0.0, 5.0, 1.0, 3.0, 4.0]
    groups = [4, 4, 7, 7, 7, 9, 9]
    assert grouped_auc(y, s, users=groups) == pytest.approx((2 * 1.0 + 3 * 0.0) / 5)
    assert np.isnan(grouped_auc([1, 1], [0.1, 0.2], users=[0, 1]))


def test_gauc_by_its_other_weights_is_that_of_scikit_learn() -> None:
    y, s, w = sample(4)
    groups = np.arange(len(y)) % 40
    y[groups < 3] = 1
    each = [(groups == g) & (w > 0) for g in range(40)]
    two = [mine for mine in each if 0 < y[mine].sum() < mine.sum()]
    areas = [sk.roc_auc_score(y[mine], s[mine], sample_weight=w[mine]) for mine in two]
    assert len(two) < len(each) - 2
    for name, weights in (
        ("gauc", [w[mine].sum() for mine in two]),
        ("gauc_positives", [(w * y)[mine].sum() for mine in two]),
        ("gauc_none", None),
    ):
        assert measured(name)(y, s, w, users=groups) == pytest.approx(np.average(areas, weights=weights), abs=1e-9)
    halves = [*areas] + [0.5] * (len(each) - len(two))
    one = [mine for mine in each if not 0 < y[mine].sum() < mine.sum()]
    mass = [w[mine].sum() for mine in (*two, *one)]
    assert measured("gauc_half")(y, s, w, users=groups) == pytest.approx(np.average(halves, weights=mass), abs=1e-9)


def test_torch_tensors_give_the_same() -> None:
    y, p, w = sample(1)
    ours = m.auc(torch.tensor(y), torch.tensor(p), torch.tensor(w))
    assert ours == pytest.approx(m.auc(y, p, w), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "says"),
    [
        ([0, 1], [0.1, np.nan], None, "finite: row 1"),
        ([0, 1], [np.inf, 0.1], None, "finite: row 0"),
        ([0, 2], [0.1, 0.2], None, "labels must be 0 or 1: row 1 holds 2"),
        ([0, 1], [0.1, 0.2], [1, -1], "weights must be finite and not negative"),
        ([0, 1, 1], [0.1, 0.2], None, "equally long"),
    ],
)
def test_bad_input_is_refused(labels: list, scores: list, weights: list | None, says: str) -> None:
    for metric in (m.auc, average_precision, kolmogorov_smirnov, m.log_loss):
        with pytest.raises(MetricError, match=says):
            metric(labels, scores, weights)


def test_probabilities_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(MetricError, match=r"\[0, 1\]: row 1 holds 1.5"):
        m.log_loss([0, 1], [0.5, 1.5])


def test_one_class_or_nothing_is_nan() -> None:
    for rows in ([], [1, 1]):
        for metric in (m.auc, kolmogorov_smirnov, m.normalised_entropy):
            assert np.isnan(metric(rows, [0.5] * len(rows)))
    assert np.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert np.isnan(m.calibration_ratio([0], [0.3]))
    assert np.isnan(m.log_loss([], []))
    assert np.isnan(m.auc([0, 1], [0.1, 0.2], [1.0, 0.0]))


def test_the_calibration_curve_is_scikit_learns() -> None:
    draw = np.random.default_rng(3)
    probabilities = draw.random(2000)
    labels = (draw.random(2000) < probabilities**2).astype(float)
    users = np.arange(2000)
    data = m.checked_probabilities(labels, probabilities)
    curve = dict(our_curve(data, m.bin_of(probabilities), users, 2000))
    observed, predicted = calibration_curve(labels, probabilities, n_bins=m.BINS)
    ours = [
        [each.estimate(Draws(users, 10, 0)).value for (_, metric), each in curve.items() if metric == name]
        for name in ("predicted", "observed")
    ]
    assert sum(each.n for each in curve.values()) == 2 * 2000
    assert next(name for name, metric in curve if metric == "observed") == "calibration bin 01"
    assert np.allclose(ours, [predicted, observed], atol=1e-12)
