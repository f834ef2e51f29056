from __future__ import annotations

import numpy as np

from roilake.training.candidates import CandidateSampler
from roilake.training.losses import NEVER

EVENTS = np.array([0, 5, 1, 0, 100, 7, 3, 20] * 50)


def test_draws_repeat_by_key() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    assert np.array_equal(sampler.draw(1, 2, 3), sampler.draw(1, 2, 3))
    assert not np.array_equal(sampler.draw(1, 2, 3), sampler.draw(1, 2, 4))
    assert not np.array_equal(sampler.draw(1, 2, 3), sampler.draw(1, 3, 3))


def test_an_item_is_drawn_as_often_as_stated() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    popularity = EVENTS**0.75 / (EVENTS**0.75).sum()
    np.testing.assert_allclose(sampler.probability_N, 60 * (0.5 / 400 + 0.5 * popularity))
    counts = np.zeros(len(EVENTS))
    for step in range(2000):
        counts[sampler.draw(0, 0, step)] += 1
    # A binomial of 2000 strays by more than 5 sigma (0.056) once in a million
    np.testing.assert_allclose(counts / 2000, sampler.probability_N, atol=0.056)


def test_few_items_are_all_candidates_without_offset() -> None:
    sampler, items = CandidateSampler.of(EVENTS, 400), np.arange(400)
    assert np.array_equal(sampler.draw(0, 0, 0), items)
    assert (sampler.offset(items, items) == 0).all()


def test_the_sum_over_candidates_is_that_over_all_items_on_average() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    score_N = np.random.default_rng(0).standard_normal(400)
    sums = [
        np.exp(score_N[drawn] + sampler.offset(drawn, drawn)).sum()
        for drawn in (sampler.draw(4, 0, step) for step in range(2000))
    ]
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - np.exp(score_N).sum()) < 5 * error
    assert error < 0.02 * np.mean(sums)


def test_items_that_were_not_drawn_never_count() -> None:
    sampler = CandidateSampler.of(EVENTS, 60)
    offset_I = sampler.offset(np.array([1, 2, 3]), np.array([1, 9]))
    np.testing.assert_allclose(offset_I[0], -np.log(sampler.probability_N[1]), rtol=1e-6)
    assert (offset_I[1:] == np.float32(NEVER)).all()


def test_without_any_history_there_are_candidates() -> None:
    assert len(CandidateSampler.of(np.zeros(500, np.int64), 100).draw(0, 0, 0)) > 20
