"""Published facts of items: who shares what, and the coordinates of their vectors."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import permutations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from roilake.pipelines.retrieval.graph.facts import known_pairs, principal, turned

FACTS = [
    ("A", "genre", "war", 1.0), ("B", "genre", "war", 0.5), ("C", "genre", "war", 1.0), ("A", "genre", "love", 1.0),
    ("B", "genre", "love", 1.0), ("A", "sequel", "B", 0.75), ("ann", "made", "A", 1.0), ("ann", "made", "C", 1.0),
    ("C", "made", "ann", 1.0), ("A", "likes", "A", 1.0),
]  # fmt: skip
IDS = {"a1": 0, "a2": 1, "b": 2, "c": 3}
ITEMS = [("A", "a1"), ("A", "a2"), ("B", "b"), ("C", "c"), ("C", "not in the events")]
TIMES = {id: datetime(2020, 1, 1 + id, tzinfo=UTC) for id in IDS.values()}


def by_hand(most: int) -> dict[tuple[int, int], float]:
    """By the formula of the docstring."""
    of = {key: [IDS[item] for entity, item in ITEMS if entity == key and item in IDS] for key in "ABC"}
    had: dict[tuple, dict[int, float]] = defaultdict(dict)
    weight: dict[tuple[int, int], float] = defaultdict(float)
    for head, relation, tail, p in FACTS:
        for id in of.get(head, ()):
            had[relation, "head", tail][id] = p
        for id in of.get(tail, ()):
            had[relation, "tail", head][id] = p
        for src, dst in ((src, dst) for src in of.get(head, ()) for dst in of.get(tail, ())):
            for pair in ((src, dst), (dst, src)):
                weight[pair] += p
    for holders in had.values():
        for src, dst in permutations(holders, 2) if len(holders) <= most else ():
            weight[src, dst] += holders[src] * holders[dst] / len(holders)
    return {pair: each for pair, each in weight.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("most", [2, 3, 4])
def test_items_that_share_an_entity_or_a_fact_are_neighbours(spark: SparkSession, most: int) -> None:
    facts = spark.createDataFrame(FACTS, "head string, relation string, tail string, probability double")
    items = spark.createDataFrame(ITEMS, "entity string, key string")
    rows = [(key, id, TIMES[id]) for key, id in IDS.items()]
    nodes = spark.createDataFrame(rows, "key string, id int, first_time timestamp")
    found = known_pairs(facts, items, nodes, most).toPandas()
    assert {*found["edge_type"]} == {"item_item_known"}
    weights = {(src, dst): weight for src, dst, weight in zip(found["src"], found["dst"], found["weight"], strict=True)}
    assert weights == pytest.approx(by_hand(most)) and len(found) == len(weights)
    assert all(
        time == TIMES[dst].replace(tzinfo=None) for time, dst in zip(found["first_time"], found["dst"], strict=True)
    )


def test_principal_coordinates_keep_distances_and_fill_up_with_zeros() -> None:
    rng = np.random.default_rng(3)
    plane_ID = (rng.standard_normal((50, 2)) @ rng.standard_normal((2, 9)) + 4).astype(np.float32)
    found_IV = principal(plane_ID, 5)
    assert found_IV.shape == (50, 5) and np.abs(found_IV[:, 2:]).max() < 1e-5
    assert (found_IV**2).sum(1).mean() == pytest.approx(1, rel=1e-5)
    first = np.linalg.norm(plane_ID[:, None] - plane_ID[None], axis=2)
    second = np.linalg.norm(found_IV[:, None] - found_IV[None], axis=2)
    ratio = first[first > 1e-3] / second[first > 1e-3]
    assert ratio.std() / ratio.mean() < 1e-3
    np.testing.assert_allclose(principal(plane_ID + 7, 5), found_IV, atol=1e-4)  # signs are not left to chance
    assert principal(plane_ID[:0], 3).shape == (0, 3) and not principal(plane_ID[:1], 3).any()
    assert principal(plane_ID, 20).shape == (50, 20)


def test_coordinates_are_turned_to_those_of_the_night_before() -> None:
    rng = np.random.default_rng(4)
    before_IV = rng.standard_normal((40, 6)).astype(np.float32)
    turn_VV = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    now_IV = (before_IV @ turn_VV).astype(np.float32)
    known_IV = before_IV.copy()
    known_IV[30:] = np.nan  # new items
    np.testing.assert_allclose(turned(now_IV, known_IV), before_IV, atol=1e-5)
    assert turned(now_IV, np.full_like(now_IV, np.nan)) is now_IV
    few_IV = np.where(np.arange(40)[:, None] < 2, before_IV, np.nan)  # too few to tell all directions
    lengths = [np.linalg.norm(each, axis=1) for each in (turned(now_IV, few_IV), now_IV)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
