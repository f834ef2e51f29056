"""Top-K and ranks against a full sort, with ties, masks and several blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from roilake.errors import MetricError
from roilake.metrics.ranking import NEVER
from roilake.pipelines.retrieval.scoring.topk import Product, ranks, top_k
from roilake.pipelines.retrieval.seen import Seen
from tests.retrieval.scoring.seen_pairs import seen_pairs


def case(seed: int, b: int, i: int, levels: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Integer vectors, so that scores tie and are exact; and a random mask of seen items."""
    rng = np.random.default_rng(seed)
    requests, items = rng.integers(-levels, levels + 1, (b, 3)), rng.integers(-levels, levels + 1, (i, 3))
    return torch.tensor(requests).float(), torch.tensor(items).float(), rng.random((b, i)) < 0.2


def hidden(seen: np.ndarray) -> Seen:
    return seen_pairs(*np.nonzero(seen), len(seen))


def full_order(requests: Tensor, items: Tensor, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = (requests @ items.T).numpy().copy()
    scores[seen] = -np.inf
    return scores, np.argsort(-scores, axis=1, kind="stable")


cases = st.tuples(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 40), st.integers(0, 3))


@settings(max_examples=80, deadline=None)
@given(cases, st.integers(1, 40), st.integers(1, 45), st.booleans())
def test_top_k_is_the_head_of_a_stable_sort(shape: tuple, k: int, block: int, masked: bool) -> None:
    requests, items, seen = case(*shape)
    seen &= masked
    k = min(k, len(items))
    scores, order = full_order(requests, items, seen)
    mask = hidden(seen) if masked else None
    best, found = top_k(Product(requests, items), k, seen=mask, tile=(2, block))
    expected = np.take_along_axis(scores, order[:, :k], 1)
    assert np.array_equal(best.numpy(), expected)
    assert np.array_equal(found.numpy(), np.where(np.isneginf(expected), -1, order[:, :k]))


@settings(max_examples=80, deadline=None)
@given(cases, st.integers(1, 45))
def test_ranks_are_places_in_that_order(shape: tuple, block: int) -> None:
    requests, items, seen = case(*shape)
    _, order = full_order(requests, items, seen)
    row, item = (torch.tensor(side).flatten() for side in np.indices(seen.shape))
    mask = hidden(seen)
    found = ranks(Product(requests, items), row, item, seen=mask, tile=(2, block)).reshape(seen.shape).numpy()
    places = np.argsort(order, axis=1) + 1
    assert np.array_equal(found, np.where(seen, NEVER, places))


def test_float_vectors_give_the_same_in_one_block_and_in_many() -> None:
    generator = torch.Generator().manual_seed(0)
    requests, items = torch.randn(9, 16, generator=generator), torch.randn(500, 16, generator=generator)
    scorer = Product(requests, items)
    whole, blocks = top_k(scorer, 50), top_k(scorer, 50, tile=(4, 64))
    assert torch.equal(whole[1], blocks[1])
    assert torch.allclose(whole[0], blocks[0])
    rows = torch.arange(9).repeat_interleave(50)
    assert torch.equal(ranks(scorer, rows, whole[1].flatten()).reshape(9, 50)[3], torch.arange(1, 51))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_vectors_that_are_no_numbers_are_refused(bad: float) -> None:
    requests, items = torch.ones(2, 3), torch.ones(5, 3)
    items[4, 1] = bad
    with pytest.raises(MetricError, match="item vector 4 is NaN or infinite"):
        Product(requests, items)
    with pytest.raises(MetricError, match="request vector 4"):
        Product(items, requests)


def test_overflow_and_k_beyond_the_items_are_refused() -> None:
    long = torch.full((2, 3), 1e30)
    with pytest.raises(MetricError, match="overflows"):
        top_k(Product(long, long), 1)
    with pytest.raises(MetricError, match=r"k = 3 must lie in 1\.\.2"):
        top_k(Product(torch.ones(1, 3), torch.ones(2, 3)), 3)


def test_no_request_gives_no_row() -> None:
    assert top_k(Product(torch.ones(0, 3), torch.ones(4, 3)), 2)[1].shape == (0, 2)


@settings(max_examples=40, deadline=None)
@given(cases, st.integers(1, 45))
def test_numbers_that_are_no_items_are_as_if_they_were_not_there(shape: tuple, block: int) -> None:
    requests, items, seen = case(*shape)
    absent = np.flatnonzero(np.random.default_rng(shape[0]).random(len(items)) < 0.4)
    present = np.delete(np.arange(len(items)), absent)
    if not len(present):
        return
    mask, fewer = hidden(seen), hidden(seen[:, present])
    whole, compact = Product(requests, items, absent), Product(requests, items[present])
    k = len(present)
    best, found = top_k(whole, k, seen=mask, tile=(2, block))
    expected, numbers = top_k(compact, k, seen=fewer)
    assert torch.equal(best, expected)
    assert np.array_equal(found.numpy(), np.where(numbers < 0, -1, present[numbers.numpy()]))
    row, item = (torch.tensor(side).flatten() for side in np.indices((len(requests), k)))
    own = ranks(whole, row, torch.from_numpy(present)[item], seen=mask, tile=(2, block))
    assert torch.equal(own, ranks(compact, row, item, seen=fewer))
