"""The conversion benchmark's own arithmetic, and one small fit of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks.bench_cvr import METHODS, summed, worst_regret
from tests.benchmarks.cvr_data import load
from tests.benchmarks.cvr_flips import flip_auc


def seed_run(**auc: float) -> dict[str, dict[str, float]]:
    return {m: {"auc": auc.get(m, 0.6), "calibration": 1.0, "log_loss": 0.3} for m in METHODS}


def test_differences_are_paired_and_regret_is_the_worst_of_the_means() -> None:
    runs = [seed_run(ukd=0.70, base=0.60), seed_run(ukd=0.90, base=0.81)]
    found: dict[str, Any] = {"truth_b1": summed(runs)}
    assert found["truth_b1"]["ukd"]["auc"]["mean"] == pytest.approx(0.8)
    minus = found["truth_b1"]["ukd_minus"]["base"]
    assert minus["mean"] == pytest.approx(0.095)
    t = 12.706  # of one degree of freedom
    assert minus["high"] - minus["mean"] == pytest.approx(t * 0.005, abs=1e-4)
    found["truth_bait"] = summed([seed_run(ukd=0.5, naive=0.62)] * 2)
    regrets = worst_regret(found)
    assert regrets["ukd"] == pytest.approx(0.12) and regrets["naive"] == pytest.approx(0.2)


def test_a_student_that_learnt_labels_by_heart_disagrees_on_wrong_ones() -> None:
    data = load("truth_bait", 0)
    small = replace(data, train=data.train.at(slice(0, 20_000)), validation=data.validation.at(slice(0, 2_000)))
    assert flip_auc(small, 250, 5e-3, 0.0, seed=0, dim=16) > 0.7
