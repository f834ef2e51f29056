"""Edges hold what lies before their instant, weighed by the definition; adjacency is their strongest part."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from roilake.graph import EDGE_TYPES, EdgeRules, interaction_moments, similarity_moments

START = datetime(2020, 1, 1, tzinfo=UTC)
INSTANTS = tuple(date(2020, 1, day) for day in (2, 3, 5))
SCHEMA = pa.schema(
    [
        ("edge_type", pa.int32()),
        ("src", pa.int32()),
        ("dst", pa.int32()),
        ("time", pa.timestamp("us", "UTC")),
        ("weight", pa.float32()),
    ]
)
SIMILAR = EDGE_TYPES.index("item_item_similar")

Moment = tuple[int, int, int, datetime, float | None]


def moments_of(rows: list[Moment]) -> pa.Table:
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def built(moments: pa.Table, rules: EdgeRules) -> tuple[dict[tuple, dict], dict[tuple, dict]]:
    found: dict[str, dict[tuple, dict]] = {"edges": {}, "adjacency": {}}
    for table, rows in rules.tables(moments):
        for row in rows.to_pylist():
            key = (row["as_of"], row["edge_type"], row["src"], *([row["dst"]] if table == "edges" else []))
            assert key not in found[table]
            found[table][key] = row
    return found["edges"], found["adjacency"]


def naive(rows: list[Moment], rules: EdgeRules) -> dict[tuple, tuple[float, datetime, datetime]]:
    """The definition, pair by pair."""
    edges = {}
    for instant in rules.instants:
        midnight = datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
        past: dict[tuple, list[Moment]] = defaultdict(list)
        for row in rows:
            if row[3] < midnight:
                past[instant, EDGE_TYPES[row[0]], row[1], row[2]].append(row)
        for key, some in past.items():
            age = [(midnight - row[3]).total_seconds() / 86_400 for row in some]
            weight = sum(
                2 ** (-a / rules.half_life_days) if row[4] is None else row[4]
                for a, row in zip(age, some, strict=True)
            )
            edges[key] = (weight, min(r[3] for r in some), max(r[3] for r in some))
    return edges


def strongest(edges: dict[tuple, dict], key: tuple, limit: int) -> list[int]:
    mine = [row for k, row in edges.items() if k[:3] == key]
    return [row["dst"] for row in sorted(mine, key=lambda row: (-row["weight"], row["dst"]))[:limit]]


times = st.integers(0, 6 * 24).map(lambda hour: START + timedelta(hours=hour))
interactions = st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 4), times, st.none())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(interactions, max_size=40),
    half_life=st.sampled_from([0.05, 1.0, 180.0]),
    limit=st.integers(1, 3),
    seed=st.randoms(),
)
def test_edges_sum_up_exactly_the_events_before_their_instant(
    rows: list[Moment], half_life: float, limit: int, seed: object
) -> None:
    rules = EdgeRules(date(2020, 1, 4), INSTANTS, half_life, top_similar=2, max_neighbours=limit)
    edges, lists = built(moments_of(rows) if rows else SCHEMA.empty_table(), rules)
    expected = naive(rows, rules)
    assert edges.keys() == expected.keys()
    for key, row in edges.items():
        midnight = datetime(key[0].year, key[0].month, key[0].day, tzinfo=UTC)
        assert row["first_time"] <= row["last_time"] < midnight
        assert (row["first_time"], row["last_time"]) == expected[key][1:]
        assert math.isclose(row["weight"], expected[key][0], rel_tol=1e-6, abs_tol=1e-7)
    assert lists.keys() == {key[:3] for key in edges}
    for key, row in lists.items():
        assert row["neighbours"] == strongest(edges, key, limit)
        assert row["weights"] == [edges[(*key, dst)]["weight"] for dst in row["neighbours"]]
    # Neither the order of rows nor the cut into shares by source shows.
    shuffled = list(rows)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    shares = [[row for row in shuffled if (row[0] + row[1]) % 3 == share] for share in range(3)]
    parts = [built(moments_of(share), rules) for share in shares if share]
    assert {k: v for part in parts for k, v in part[0].items()} == edges
    assert {k: v for part in parts for k, v in part[1].items()} == lists


def test_many_old_events_sum_up_without_overflow_or_loss() -> None:
    old = START - timedelta(days=4000)
    rows: list[Moment] = [(2, 0, 0, old, None), (2, 0, 1, START, None)] * 1000
    edges, _ = built(moments_of(rows), EdgeRules(date(2020, 1, 1), INSTANTS[:1], 1.0, 1, 10))
    assert edges[INSTANTS[0], "user_item", 0, 0]["weight"] == 0.0
    assert edges[INSTANTS[0], "user_item", 0, 1]["weight"] == np.float32(500.0)


def test_similarity_does_not_decay_and_is_cut_to_the_top_among_the_seen() -> None:
    rows: list[Moment] = [
        (SIMILAR, 0, 3, START, 0.5),
        (SIMILAR, 0, 2, START, 0.5),
        (SIMILAR, 0, 1, START, 0.4),
        (SIMILAR, 0, 4, START + timedelta(hours=25), 0.9),
    ]
    edges, lists = built(
        moments_of(rows), EdgeRules(date(2020, 1, 4), INSTANTS, 1.0, top_similar=2, max_neighbours=10)
    )
    by_day = sorted((key[0].day, key[3]) for key in edges)
    assert by_day == [(2, 2), (2, 3), (3, 2), (3, 4), (5, 2), (5, 4)]
    row = lists[INSTANTS[2], "item_item_similar", 0]
    assert row["neighbours"] == [4, 2] and row["weights"] == [np.float32(0.9), 0.5]


def test_moments_of_events_and_of_adjacent_items(spark: SparkSession) -> None:
    at = [START + timedelta(minutes=minute) for minute in range(4)]
    events = spark.createDataFrame(
        [
            ("e0", at[0], 0, 0, 5, "s"),
            ("e1", at[1], 0, -1, 6, "s"),
            ("e2", at[2], 0, 0, 6, "s"),  # the same item again: no edge to itself
            ("e3", at[3], 1, 1, 5, "t"),
        ],
        "event_id string, time timestamp, user int, query int, item int, session string",
    )
    found = [
        (EDGE_TYPES[r.edge_type], r.src, r.dst, r.time.minute) for r in interaction_moments(events).collect()
    ]
    assert sorted(f for f in found if f[0] == "item_item") == [("item_item", 5, 6, 1), ("item_item", 6, 5, 1)]
    assert sorted(f[1:] for f in found if f[0] == "user_query") == [(0, 0, 0), (0, 0, 2), (1, 1, 3)]
    assert sorted(f[1:] for f in found if f[0] == "item_user") == [(5, 0, 0), (5, 1, 3), (6, 0, 1), (6, 0, 2)]
    assert len(found) == 3 * 6 + 2 + 2


def test_similar_pairs_become_moments(spark: SparkSession) -> None:
    pairs = spark.createDataFrame(
        [("item_query_similar", 1, 2, 0.5, START)],
        "edge_type string, src int, dst int, weight float, first_time timestamp",
    )
    row = similarity_moments(pairs).collect()[0]
    assert (EDGE_TYPES[row.edge_type], row.src, row.dst, row.weight) == ("item_query_similar", 1, 2, 0.5)
