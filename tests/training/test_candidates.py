from __future__ import annotations

import numpy as np

from roilake.training.candidates import CandidateSampler
from roilake.training.losses import NEVER

EVENTS = np.array([0, 5, 1, 0, 100, 7, 3, 20] * 50)
ITEMS = np.arange(len(EVENTS))


def test_draws_repeat_by_key() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    drawn = sampler.draw(1, 2, 3)
    assert np.array_equal(drawn, sampler.draw(1, 2, 3))
    assert not np.array_equal(drawn, sampler.draw(1, 2, 4))


def test_an_item_is_drawn_as_often_as_stated() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    counts = np.zeros(len(EVENTS))
    for step in range(2000):
        counts[sampler.draw(0, 0, step)] += 1
    # A binomial of 2000 strays by more than 5 sigma (0.056) once in a million
    np.testing.assert_allclose(counts / 2000, sampler.probability_N, atol=0.056)
    popular = EVENTS**0.75 / (EVENTS**0.75).sum()
    np.testing.assert_allclose(sampler.probability_N, 30 / len(EVENTS) + 30 * popular)


def test_the_sampled_sum_has_the_expectation_of_the_whole_one() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    weight_N = np.exp(sampler.offset(ITEMS, ITEMS).astype(np.float64))
    np.testing.assert_allclose(sampler.probability_N * weight_N, 1.0, rtol=1e-5)


def test_few_items_are_all_candidates_without_correction() -> None:
    sampler = CandidateSampler.of(EVENTS, 1000)
    assert np.array_equal(sampler.draw(0, 0, 0), ITEMS)
    assert (sampler.offset(ITEMS, ITEMS) == 0).all()


def test_what_was_not_drawn_never_counts() -> None:
    offset = CandidateSampler.of(EVENTS, 60).offset(np.array([1, 2, 3]), np.array([1, 9]))
    assert offset[0] > 0 and (offset[1:] == np.float32(NEVER)).all()


def test_without_any_history_items_are_drawn_evenly() -> None:
    sampler = CandidateSampler.of(np.zeros(50, np.int64), 10)
    assert len(set(sampler.probability_N)) == 1
