"""Ranking metrics against torchmetrics and hand-written loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import retrieval as tm

from roilake.errors import MetricError
from roilake.metrics.ranking import NEVER, Ranks, ranks_among_negatives

ITEMS = 12
requests = st.lists(st.sets(st.integers(1, ITEMS), max_size=ITEMS), min_size=1, max_size=6)


def flat(sets: list[set[int]]) -> Ranks:
    ranks = [rank for ranks in sets for rank in sorted(ranks, reverse=True)]
    return Ranks.of(ranks, [row for row, ranks in enumerate(sets) for _ in ranks], len(sets))


@settings(max_examples=60, deadline=None)
@given(requests, st.integers(1, ITEMS))
def test_equal_torchmetrics(sets: list[set[int]], k: int) -> None:
    found = flat(sets)
    scores = torch.arange(ITEMS, 0, -1).double()
    for row, ranks in enumerate(sets):
        target = torch.tensor([rank in ranks for rank in range(1, ITEMS + 1)])
        if not ranks:
            assert np.isnan([found.recall(k)[row], found.ndcg(k)[row], found.average_precision()[row]]).all()
            continue
        pairs = [
            (found.hit_rate(k), tm.retrieval_hit_rate(scores, target, top_k=k)),
            (found.recall(k), tm.retrieval_recall(scores, target, top_k=k)),
            (found.precision(k), tm.retrieval_precision(scores, target, top_k=k)),
            (found.reciprocal_rank(k), tm.retrieval_reciprocal_rank(scores, target, top_k=k)),
            (found.average_precision(), tm.retrieval_average_precision(scores, target)),
        ]
        for ours, theirs in pairs:
            assert ours[row] == pytest.approx(float(theirs), abs=1e-6)  # torchmetrics counts in float32
        gains = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= k)
        best = sum(1 / np.log2(1 + place) for place in range(1, min(k, len(ranks)) + 1))
        assert found.ndcg(k)[row] == pytest.approx(gains / best, abs=1e-12)
        hits = sorted(rank for rank in ranks if rank <= k)
        precision = sum((place + 1) / rank for place, rank in enumerate(hits))
        assert found.average_precision(k)[row] == pytest.approx(precision / min(k, len(ranks)), abs=1e-12)


@given(requests)
def test_rank_without_the_other_positives(sets: list[set[int]]) -> None:
    found = flat(sets)
    ours = ranks_among_negatives(found)
    expected = [rank - sum(other < rank for other in ranks) for ranks in sets for rank in sorted(ranks)]
    assert ours.tolist() == expected


def test_an_item_that_is_never_shown_is_a_miss() -> None:
    found = Ranks.of([NEVER, 1, NEVER], [0, 1, 0], 2)
    for metric in (found.hit_rate(50), found.ndcg(50), found.reciprocal_rank(), found.average_precision()):
        assert metric.tolist() == [0.0, 1.0]
    assert ranks_among_negatives(found).tolist() == [NEVER, NEVER, 1]


def test_bad_ranks_are_refused() -> None:
    with pytest.raises(MetricError, match="rank 3 twice: a candidate is duplicated"):
        Ranks.of([3, 3], [0, 0], 1)
    with pytest.raises(MetricError, match="ranks start at 1"):
        Ranks.of([0], [0], 1)
    with pytest.raises(MetricError, match=r"requests lie in 0\.\.0"):
        Ranks.of([1], [1], 1)
    with pytest.raises(MetricError, match="k must be at least 1"):
        Ranks.of([1], [0], 1).recall(0)
