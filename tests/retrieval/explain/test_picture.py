"""A region is drawn whatever its users, queries and items are called."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from roilake.pipelines.retrieval.config import RelevanceWeights, RoiConfig
from roilake.pipelines.retrieval.explain import Explanation, Names, draw_request, kept_neighbours
from roilake.pipelines.retrieval.explain.picture import _short
from roilake.pipelines.retrieval.roi import RoiLayout
from tests.report.test_plain_text import ODD, texts

HOPS = ({"user_item": 2, "query_item": 2},)
LAYOUT = RoiLayout.of(HOPS, ("user", "query"))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("titled", [False, True])
def test_a_region_is_drawn_whatever_its_nodes_are_called(odd: str, titled: bool) -> None:
    """As keys of user, query and items, and as items' titles."""
    items_of = [(f"i{n}", odd) if titled else (f"{odd}{n}", None) for n in range(3)]
    nodes = [("user", 0, odd, [], None), ("query", 0, odd, [], None)]
    nodes += [("item", number, key, [], title) for number, (key, title) in enumerate(items_of)]
    names = Names(pd.DataFrame(nodes, columns=["node_type", "id", "key", "terms", "title"]))
    row = {"user": 0, "query": 0, "root": 9, "neighbours": np.array([0, 1, 1, 2]), "relevance": np.full(4, 60)}
    row |= {"linked": np.array([1, 0]), "ages": np.array([-100, 9])}
    kept = kept_neighbours(LAYOUT, row, names, RelevanceWeights()).assign(
        attention=0.5, relation=0.5, share=[0.1, 0.2, 0.3, 0.4]
    )
    relations = pd.DataFrame(
        [(root, odd, kind, 0.5) for root in ("user", "query") for kind in ("own", f"{root}_item")],
        columns=["path", "parent", "relation", "weight"],
    )
    roi = RoiConfig(request_hops=HOPS)
    found = Explanation(Path("lake"), date(2020, 1, 10), "zoomer", odd, odd, roi, names, kept, relations)
    items = pd.DataFrame({"rank": [1], "item": [items_of[0][0]], "label": [names.label_of("item", items_of[0][0])]})
    shared = pd.DataFrame([(1, "item", items_of[0][0], "item")], columns=["rank", "node_type", "node", "path_of_item"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = texts(draw_request(found, items, shared))
    assert {f"user {_short(odd)}", f"query {_short(odd)}", f"1  {_short(items['label'][0])}"} <= written
    assert {_short(label) for label in kept["label"]} <= written
