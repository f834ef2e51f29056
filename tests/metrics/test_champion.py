"""Who serves: the best on validation, and another one only when it is better beyond noise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import pytest

from roilake.metrics.champion import Champion, Contest, choose
from roilake.metrics.intervals import Draws
from roilake.metrics.observed import observe_mean

USERS, DS = 200, date(2020, 1, 10)
BEFORE = DS - timedelta(days=1)
Gains = Mapping[str, float]


def contest(gains: Gains, metric: str = "ndcg@20", noise: float = 0.05, users: int = USERS) -> Contest:
    """Each model's mean is that of the users plus its gain; it differs from the others by noise, which is its own."""
    base = np.random.default_rng(0).normal(0.5, 0.2, users)
    observed = {}
    for number, (model, gain) in enumerate(gains.items()):
        own = np.random.default_rng(number + 1).normal(0, noise, users)
        observed[model] = observe_mean(base + gain + own - (own.mean() if users else 0), np.arange(users), users)
    return Contest(tuple(gains), metric, observed, Draws(np.arange(users), 200, 7))


def served(model: str, since: date = BEFORE) -> Champion:
    return Champion(model, since, metric="ndcg@20")


@pytest.mark.parametrize(
    ("metric", "gain", "model", "reason"),
    [
        ("ndcg@20", 0.02, "b", "won"),
        ("ndcg@20", 0.002, "a", "stayed"),  # better by value alone
        ("ndcg@20", -0.02, "a", "stayed"),
        ("log_loss", 0.02, "a", "stayed"),
        ("log_loss", -0.002, "a", "stayed"),
        ("log_loss", -0.02, "b", "won"),
    ],
)
def test_who_serves_is_replaced_only_beyond_the_paired_interval(
    metric: str, gain: float, model: str, reason: str
) -> None:
    found = choose(contest({"a": 0, "b": gain}, metric), served("a"), DS)
    assert (found.model, found.reason, found.previous) == (model, reason, "a")
    assert found.since == (DS if reason == "won" else BEFORE)
    assert found.low is not None and found.high is not None and found.n == USERS
    rival_gain = gain if model == "a" else -gain
    assert found.difference == pytest.approx(rival_gain) and found.low < rival_gain < found.high
    # The two means alone say nothing: their own intervals overlap by far.
    whole = contest({"a": 0, "b": gain}).observed["a"].estimate(Draws(np.arange(USERS), 200, 7))
    assert whole.high - whole.low > 2 * abs(gain)


def test_of_several_that_win_the_best_one_serves_and_the_next_one_runs_up() -> None:
    found = choose(contest({"a": 0, "b": 0.02, "c": 0.04, "d": 0.03}), served("a"), DS)
    assert (found.model, found.runner_up, found.reason) == ("c", "d", "won")
    assert found == choose(contest({"a": 0, "b": 0.02, "c": 0.04, "d": 0.03}), served("a"), DS)


def test_a_first_night_and_one_without_who_served_take_the_best_by_value() -> None:
    field = contest({"a": 0, "b": 0.002, "c": 0.001})
    first, gone = choose(field, None, DS), choose(field, served("z"), DS)
    assert (first.model, first.reason, first.since, first.previous) == ("b", "first", DS, None)
    assert (gone.model, gone.reason, gone.since, gone.previous) == ("b", "gone", DS, "z")
    level = contest({"b": 0, "a": 0, "c": 0}, noise=0)
    assert (choose(level, None, DS).model, choose(level, None, DS).runner_up) == ("b", "a")  # as the config has them


def test_without_anything_to_judge_by_who_served_stays() -> None:
    nothing = Contest(("a", "b"), "ndcg@20", {}, Draws(np.zeros(0, np.int64), 200, 7))
    nobody = contest({"a": 0, "b": 1}, users=0)
    for field in (nothing, nobody):
        stayed, first = choose(field, served("b"), DS), choose(field, None, DS)
        assert (stayed.model, stayed.reason, stayed.since) == ("b", "stayed", BEFORE)
        assert (first.model, first.reason, choose(field, served("z"), DS).model) == ("a", "first", "a")
        assert (first.value, first.runner_up, first.difference, first.low, first.n) == (None, None, None, None, 0)
    alone = contest({"a": 0, "b": 0.5}, users=1)  # no interval
    assert choose(alone, served("a"), DS).model == "a"


def test_a_named_model_serves_whatever_validation_prefers() -> None:
    field = contest({"a": 0, "b": 0.02})
    found = choose(field, served("b"), DS, named="a")
    assert (found.model, found.reason, found.since, found.previous, found.runner_up) == ("a", "named", DS, "b", "b")
    assert choose(field, found, DS + timedelta(1), named="a").since == DS
    best = choose(field, found, DS + timedelta(1))  # no longer named: it must still be beaten
    assert (best.model, best.reason, best.since) == ("b", "won", DS + timedelta(1))
