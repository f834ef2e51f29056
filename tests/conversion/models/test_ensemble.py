"""An ensemble of teachers: who ranks the validation clicks best has the most say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from roilake.pipelines.conversion.models.ensemble import SHARPNESS, weighted_prediction, weights


def test_a_member_one_standard_error_behind_has_its_share() -> None:
    """Against the standard error of Hanley and McNeil's own example: AUC .893, 51 diseased, 58 normal: .032."""
    found = weights(np.array([0.893, 0.893 - 0.032]), 51, 58)
    assert found.sum() == pytest.approx(1.0)
    assert np.log(found[1] / found[0]) == pytest.approx(-SHARPNESS, rel=0.02)


def test_more_validation_clicks_make_it_sharper() -> None:
    auc_M = np.array([0.70, 0.69, 0.60])
    few, many = weights(auc_M, 50, 150), weights(auc_M, 5_000, 15_000)
    assert few[0] > few[1] > few[2] > 0
    assert many[0] > few[0]


def test_who_cannot_be_judged_is_not_heard_unless_nobody_can() -> None:
    assert weights(np.array([0.7, np.nan]), 50, 150).tolist() == [1.0, 0.0]
    assert weights(np.array([np.nan, np.nan]), 50, 150).tolist() == [0.5, 0.5]
    assert weights(np.array([0.7, 0.9]), 0, 150).tolist() == [0.5, 0.5]


def test_it_speaks_by_mean_logits_and_tells_how_far_it_is_apart() -> None:
    probability_MR, weight_M = np.array([[0.1, 0.3], [0.5, 0.3]]), np.array([0.25, 0.75])
    mean_R, apart_R = weighted_prediction(probability_MR, weight_M)
    assert mean_R[0] == pytest.approx(expit(0.25 * logit(0.1) + 0.75 * logit(0.5)))
    own = [p * np.log(p / mean_R[0]) + (1 - p) * np.log((1 - p) / (1 - mean_R[0])) for p in (0.1, 0.5)]
    assert apart_R[0] == pytest.approx(0.25 * own[0] + 0.75 * own[1])
    assert mean_R[1] == pytest.approx(0.3) and apart_R[1] == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(np.concatenate(weighted_prediction(np.array([[0.0, 1.0], [1.0, 1.0]]), weight_M))).all()
