"""Ranking metrics against torchmetrics and hand-written loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import retrieval as tm

from roilake.errors import MetricError
from roilake.metrics.lists import Lists
from roilake.metrics.ranking import NEVER, Ranks, ranks_among_negatives, recall_or_0
from roilake.metrics.registry import parse

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
            assert np.isnan([found.average_precision_all(k)[row], found.average_precision_hits(k)[row]]).all()
            assert recall_or_0(found, k)[row] == float(tm.retrieval_recall(scores, target, top_k=k)) == 0
            continue
        pairs = [
            (found.hit_rate(k), tm.retrieval_hit_rate(scores, target, top_k=k)),
            (found.recall(k), tm.retrieval_recall(scores, target, top_k=k)),
            (found.precision(k), tm.retrieval_precision(scores, target, top_k=k)),
            (found.reciprocal_rank(k), tm.retrieval_reciprocal_rank(scores, target, top_k=k)),
            (found.average_precision(), tm.retrieval_average_precision(scores, target)),
            (found.average_precision_hits(k), tm.retrieval_average_precision(scores, target, top_k=k)),
            (recall_or_0(found, k), tm.retrieval_recall(scores, target, top_k=k)),
        ]
        for ours, theirs in pairs:
            assert ours[row] == pytest.approx(float(theirs), abs=1e-6)  # torchmetrics counts in float32
        gains = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= k)
        best = sum(1 / np.log2(1 + place) for place in range(1, min(k, len(ranks)) + 1))
        assert found.ndcg(k)[row] == pytest.approx(gains / best, abs=1e-12)
        hits = sorted(rank for rank in ranks if rank <= k)
        precision = sum((place + 1) / rank for place, rank in enumerate(hits))
        assert found.average_precision(k)[row] == pytest.approx(precision / min(k, len(ranks)), abs=1e-12)
        assert found.average_precision_all(k)[row] == pytest.approx(precision / len(ranks), abs=1e-12)
        assert found.recall_capped(k)[row] == pytest.approx(len(hits) / min(k, len(ranks)), abs=1e-12)


def test_the_definitions_of_a_metric_differ_as_they_say() -> None:
    """Relevant at ranks 1 and 3, and two that are never shown; and a request without a relevant item. trec_eval's
    map_cut_2 is 1/4, and its success_2 1."""
    found = Ranks.of([1, 3, NEVER, NEVER], [0, 0, 0, 0], 2)
    expected = {
        "map@2": 1 / 2, "map_all@2": 1 / 4, "map_hits@2": 1, "map": (1 + 2 / 3) / 4, "map_all": (1 + 2 / 3) / 4,
        "map_hits": (1 + 2 / 3) / 2, "recall@2": 1 / 4, "recall_capped@2": 1 / 2, "success@2": 1, "mrr": 1,
        "precision@2": 1 / 2, "ndcg@2": 1 / (1 + 1 / np.log2(3)),
    }  # fmt: skip
    for name, value in expected.items():
        metric, k = parse(name)
        assert metric.compute(found, k) == pytest.approx([value, np.nan], abs=1e-12, nan_ok=True), name
        if metric.name in ("map", "recall", "success", "mrr", "precision", "ndcg"):
            or_0, k = parse(name.replace(metric.name, f"{metric.name}_or_0"))
            assert or_0.compute(found, k) == pytest.approx([value, 0], abs=1e-12), name


@pytest.mark.parametrize("k", [10**6, 2**63 - 1, 10**30])
def test_k_is_bounded_by_what_there_is(k: int) -> None:
    """Nothing as long as K is made, and what is never shown is in no list, however long."""
    found = Ranks.of([1, NEVER], [0, 0], 1)
    assert found.ndcg(k)[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert (found.hit_rate(k)[0], found.recall(k)[0], found.average_precision(k)[0]) == (1, 0.5, 0.5)
    lists = Lists(np.array([0, 0]), np.array([1, NEVER]), np.array([7, 8]), np.array([True, True]), 1)
    assert lists.top(k).tolist() == [[7]]


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
