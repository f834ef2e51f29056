from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from roilake.hashing import uniform
from roilake.pipelines.retrieval.training import candidates
from roilake.pipelines.retrieval.training.candidates import CandidateSampler
from roilake.pipelines.retrieval.training.losses import NEVER

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


@pytest.mark.parametrize("count", [60, 400])
def test_numbers_that_are_no_items_are_never_candidates(count: int) -> None:
    known = EVENTS != 0
    known[0] = True
    whole = CandidateSampler.of(EVENTS, count, known)
    compact = CandidateSampler.of(EVENTS[known], count)
    assert np.array_equal(whole.probability_N[known], compact.probability_N)
    assert not whole.probability_N[~known].any()
    drawn = np.unique(np.concatenate([whole.draw(0, 0, step) for step in range(200)]))
    assert known[drawn].all() and 0 in drawn


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


def test_items_are_drawn_independently_of_each_other() -> None:
    """The number of candidates has the variance of a Poisson sample, and no two items go together."""
    sampler = CandidateSampler.of(EVENTS, 60)
    taken = np.zeros((4000, len(EVENTS)))
    for step in range(len(taken)):
        taken[step, sampler.draw(3, 1, step)] = 1
    pi = sampler.probability_N
    assert taken.sum(1).var() == pytest.approx((pi * (1 - pi)).sum(), rel=0.1)
    together = np.corrcoef(taken.T)[np.triu_indices(len(EVENTS), 1)]
    assert np.abs(together).max() < 6 / np.sqrt(len(taken))


def test_a_draw_costs_its_number_not_that_of_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def counted(*keys: ArrayLike) -> NDArray[np.float64]:
        found = uniform(*keys)
        hashed.append(found.size)
        return found

    monkeypatch.setattr(candidates, "uniform", counted)
    events = np.random.default_rng(0).zipf(1.5, 1_000_000).clip(max=10**6)
    sampler = CandidateSampler.of(events, 1000)
    drawn = sampler.draw(0, 0, 0)
    assert 800 < len(drawn) <= 1000 + 4 * np.sqrt(1000)
    assert sum(hashed) < 6000


def test_all_of_one_item_and_none_at_all() -> None:
    assert CandidateSampler.of(np.array([3]), 1).draw(0, 0, 0).tolist() == [0]
    assert CandidateSampler.of(np.empty(0, np.int64), 1).draw(0, 0, 0).tolist() == []
