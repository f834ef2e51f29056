from __future__ import annotations

import numpy as np

from roilake.training.candidates import CandidateSampler
from roilake.training.losses import NEVER

DEGREES = np.array([0, 5, 1, 0, 100, 7, 3, 20] * 50)


def test_draws_repeat_by_key_and_leave_out_unseen_items() -> None:
    sampler = CandidateSampler.of(DEGREES, 60)
    drawn = sampler.draw(1, 2, 3)
    assert np.array_equal(drawn, sampler.draw(1, 2, 3))
    assert not np.array_equal(drawn, sampler.draw(1, 2, 4))
    assert (DEGREES[drawn] > 0).all()


def test_an_item_is_drawn_as_often_as_stated() -> None:
    sampler = CandidateSampler.of(DEGREES, 60)
    counts = np.zeros(len(DEGREES))
    for step in range(2000):
        counts[sampler.draw(0, 0, step)] += 1
    # A binomial of 2000 strays by more than 5 sigma (0.056) once in a million
    np.testing.assert_allclose(counts / 2000, sampler.probability_N, atol=0.056)
    seen = sampler.probability_N > 0
    np.testing.assert_allclose(sampler.expected_N[seen].sum(), 60)
    popular = DEGREES**0.75 / (DEGREES**0.75).sum()
    np.testing.assert_allclose(sampler.expected_N[seen], (30 / 300 + 30 * popular)[seen])


def test_few_items_are_all_candidates_and_weighted_to_the_same_sum() -> None:
    few, many = CandidateSampler.of(DEGREES, 1000), CandidateSampler.of(DEGREES, 20)
    items = np.arange(len(DEGREES))
    assert np.array_equal(few.draw(0, 0, 0), np.flatnonzero(DEGREES > 0))
    # E[sum of e^offset over candidates] = sum of E_c^(1-q), drawn or whole
    for sampler in (few, many):
        seen = sampler.probability_N > 0
        weight = np.exp(sampler.candidate_offset(items[seen], items, 0.4).astype(np.float64))
        expected = sampler.probability_N[seen] * weight
        np.testing.assert_allclose(expected, sampler.expected_N[seen] ** 0.6, rtol=1e-5)


def test_offsets_are_the_usual_logq_while_rare() -> None:
    sampler = CandidateSampler.of(DEGREES, 20)
    items = np.array([1, 2, 3])
    assert (sampler.expected_N[items] < 1).all()
    offset = sampler.candidate_offset(items, np.array([1, 9]), 0.5)
    np.testing.assert_allclose(offset[0], -0.5 * np.log(sampler.expected_N[1]), rtol=1e-6)
    assert (offset[1:] == np.float32(NEVER)).all()
    np.testing.assert_allclose(sampler.positive_offset(items, 0.5), -0.5 * np.log(sampler.expected_N[items]), rtol=1e-6)


def test_without_any_history_all_items_are_candidates() -> None:
    assert len(CandidateSampler.of(np.zeros(5, np.int64), 10).draw(0, 0, 0)) == 5
