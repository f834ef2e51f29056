"""Approximate lists: ordered, whole, and nearly the exact ones; the job says how nearly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.retrieval import score_requests
from roilake.lake import Lake, Run
from roilake.pipelines.retrieval.scoring.approximate import near_top_k, write_cells
from roilake.pipelines.retrieval.scoring.topk import Product, top_k
from roilake.pipelines.retrieval.seen import Seen
from tests.retrieval.scoring.seen_pairs import seen_pairs
from tests.retrieval.scoring.small_night import DS, small_config, write_small_night


@pytest.fixture(scope="module")
def clustered() -> Product:
    """5,000 items around 50 centres, and 64 requests between them."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(50, 16))
    items = centre[rng.integers(0, 50, 5000)] + 1.5 * rng.normal(size=(5000, 16))
    requests = centre[rng.integers(0, 50, 64)] + 0.5 * rng.normal(size=(64, 16))
    return Product(*(torch.from_numpy(found.astype(np.float32)) for found in (requests, items)))


def test_lists_are_ordered_and_nearly_the_exact_ones(clustered: Product, tmp_path: Path) -> None:
    write_cells(clustered.items_ID, str(tmp_path / "cells"), seed=1)
    score, item = near_top_k(clustered, 20, str(tmp_path / "cells"), Seen.nothing(64))
    exact = top_k(clustered, 20)[1]
    own = (clustered.requests_BD[:, None] * clustered.items_ID[item]).sum(-1)
    assert torch.allclose(score, own, atol=1e-4)
    assert (score[:, :-1] >= score[:, 1:]).all()
    recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(item, exact, strict=True)]) / 20
    assert 0.8 < recall < 1, "a quarter of the cells holds most of the best items, not all"


def test_numbers_that_are_no_items_are_in_no_cell(clustered: Product, tmp_path: Path) -> None:
    absent = np.unique(top_k(clustered, 3)[1])
    without = replace(clustered, absent=absent)
    write_cells(clustered.items_ID, str(tmp_path / "cells"), 1, absent)
    for k in (20, 5000):
        item = near_top_k(without, k, str(tmp_path / "cells"), Seen.nothing(64))[1].numpy()
        assert not np.isin(item, absent).any() and (item[:, :20] >= 0).all()
    assert ((item >= 0).sum(axis=1) == 5000 - len(absent)).all()


def test_seen_items_are_in_no_approximate_list(clustered: Product, tmp_path: Path) -> None:
    """Of one request the best 30, of another all but five, of all others nothing."""
    write_cells(clustered.items_ID, str(tmp_path / "cells"), seed=1)
    best = top_k(clustered, 5000)[1].numpy()
    item_E = np.concatenate([best[0, :30], best[1, 5:]])
    seen = seen_pairs(np.repeat([0, 1], [30, 4995]), item_E, 64)
    score, item = (found.numpy() for found in near_top_k(clustered, 20, str(tmp_path / "cells"), seen))
    assert np.array_equal(item[0], top_k(clustered, 20, seen=seen)[1][0])  # fewer than 20 of 40 are left: exact
    assert item[1].tolist() == [*best[1, :5], *[-1] * 15] and np.isneginf(score[1, 5:]).all()
    assert (item[2:] >= 0).all() and (score[2:, :-1] >= score[2:, 1:]).all()


def test_cells_are_the_same_again_and_others_by_seed(clustered: Product, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_cells(clustered.items_ID, str(tmp_path / name), seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_of_what_cells_do_not_hold_the_exact_list_is_given(tmp_path: Path) -> None:
    """One cell holds almost all items; who looks into the others finds too few."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.normal(size=(4900, 4)) * 0.01 + [9, 0, 0, 0], -np.eye(4)[rng.integers(0, 4, 100)]])
    product = Product(-torch.eye(4), torch.from_numpy(items.astype(np.float32)))
    write_cells(product.items_ID, str(tmp_path / "cells"), seed=0)
    score, item = near_top_k(product, 600, str(tmp_path / "cells"), Seen.nothing(4))
    assert (item >= 0).all() and all(len(np.unique(row)) == 600 for row in item)
    assert (score[:, :-1] >= score[:, 1:]).all()


def test_the_job_tells_the_recall_and_exact_lists_stay(lake: Lake, make_run: Callable[..., Run]) -> None:
    """Twenty items make a single cell, so that both ways give the same lists."""
    write_small_night(lake, make_run, small_config())
    lists = []
    for index in ("exact", "ivf"):
        result = score_requests.run(lake, small_config(scoring={"index": index}), DS)
        assert result.details.get("recall_at_k") == (None if index == "exact" else 1.0)
        lists.append(lake.to_arrow("recommendations", result.outputs["recommendations"]).sort_by("user"))
    keys = [rows.select(["user", "rank", "item"]).to_pylist() for rows in lists]
    assert sorted(map(str, keys[0])) == sorted(map(str, keys[1]))
