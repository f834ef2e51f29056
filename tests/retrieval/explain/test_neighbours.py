"""Regions of interest as tables with names, two hops deep, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from roilake.errors import LakeError
from roilake.pipelines.retrieval.config import RelevanceWeights
from roilake.pipelines.retrieval.explain import Names, kept_neighbours
from roilake.pipelines.retrieval.explain.neighbours import age
from roilake.pipelines.retrieval.explain.request import _weighed
from roilake.pipelines.retrieval.models.attention import Attention
from roilake.pipelines.retrieval.roi import RoiLayout

WEIGHTS = RelevanceWeights(likeness=2, linked=3, recency=4)
LAYOUT = RoiLayout.of(({"user_item": 2}, {"item_query": 2}), ("user", "query"))
NAMES = Names(
    pd.DataFrame(
        [
            ("user", 0, "ann", [], None),
            ("query", 0, "Sci-Fi", ["sci", "fi"], "Sci-Fi"),
            ("query", 1, "War", ["war"], None),
            ("item", 0, "i0", ["the", "thin", "red", "line"], None),
            ("item", 1, "i1", ["the", "matrix"], "The Matrix"),
        ],
        columns=["node_type", "id", "key", "terms", "title"],
    )
)
ROW = {
    "user": 0, "query": -1, "root": 99,
    "neighbours": np.array([1, 0, 1, -1, 0, 1], np.int32), "relevance": np.array([127, 64, 32, 0, 16, 8], np.int8),
    "linked": np.array([1, 0], np.int8), "ages": np.array([-128, 12], np.int8),
}  # fmt: skip


def test_each_neighbour_is_named_below_its_parent() -> None:
    table = kept_neighbours(LAYOUT, ROW, NAMES, WEIGHTS)
    assert list(table["entry"]) == [0, 1, 2, 4, 5] and list(table["above"]) == [-1, -1, 0, 1, 1]
    assert list(table["parent"]) == ["ann", "ann", "i1", "i0", "i0"]
    assert list(table["neighbour"]) == ["i1", "i0", "War", "Sci-Fi", "War"]
    assert list(table["label"]) == ["The Matrix (i1)", "the thin red (i0)", "War", "Sci-Fi", "War"]
    assert list(table["path"]) == ["user/user_item"] * 2 + ["user/user_item/item_query"] * 3
    assert list(table["position"]) == [0, 1, 0, 0, 1] and list(table["hop"]) == [1, 1, 2, 2, 2]
    np.testing.assert_allclose(table["likeness"], np.array([127, 64, 32, 16, 8]) / 127)


def test_a_neighbour_of_the_history_says_why_it_was_kept() -> None:
    """i1 is linked to the query and of this second; i0 is not, and 140 eighths of an octave old."""
    table = kept_neighbours(LAYOUT, ROW, NAMES, WEIGHTS)
    assert list(table["linked"]) == [True, False, None, None, None]
    assert list(table["age"]) == ["0 s", "2.3 days", None, None, None]
    own = [2 * 1 + 3 * 1 + 4 * 1, 2 * 64 / 127 + 4 * (1 - 140 / 256)]
    np.testing.assert_allclose(table["relevance"], [*own, 32 / 127, 16 / 127, 8 / 127])


def test_ages_are_in_the_unit_that_fits() -> None:
    """The code of 1 + s seconds is 8 e + the three bits below the highest one."""
    codes = {
        0: "0 s",
        8: "1 s",
        47: "59 s",
        48: "1.1 min",
        95: "1.1 h",
        128: "18 h",
        200: "1.1 years",
        255: "128 years",
    }
    assert {code: age(code) for code in codes} == codes


def test_a_share_is_the_product_of_the_weights_on_the_way_from_the_root() -> None:
    deep = Attention(
        (LAYOUT.slots[1],), (torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]),), torch.tensor([[[0.5, 0.5], [0.2, 0.8]]])
    )
    top = Attention((LAYOUT.slots[0],), (torch.tensor([[[0.6, 0.4]]]),), torch.tensor([[[0.3, 0.7]]]))
    table = _weighed(LAYOUT, [deep, top])
    np.testing.assert_allclose(table["attention"], [0.6, 0.4, 1.0, 0.0, 0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(table["relation"], [0.7, 0.7, 0.5, 0.5, 0.8, 0.8], rtol=1e-6)
    first, second = 0.7 * 0.6, 0.7 * 0.4
    expected = [first, second, first * 0.5, 0, second * 0.8 * 0.25, second * 0.8 * 0.75]
    np.testing.assert_allclose(table["share"], expected, rtol=1e-6)


def test_a_region_without_neighbours_is_an_empty_table() -> None:
    nothing = {**ROW, "neighbours": np.full(6, -1)}
    table = kept_neighbours(LAYOUT, nothing, NAMES, WEIGHTS)
    assert table.empty and "relevance" in table


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(LakeError, match="no item 'i7' is known"):
        NAMES.id_of("item", "i7")
