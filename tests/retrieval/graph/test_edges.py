"""Edges hold what lies before their instant, weighed by the definition; adjacency is their strongest part. Neither the
cut into slices and parts, nor a hub's spread over parts, shows."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from roilake.errors import RoilakeError
from roilake.pipelines.retrieval.config import EDGE_TYPES
from roilake.pipelines.retrieval.graph import SimilarityRules, build, kernel, plan_slices, similarity_contributions
from roilake.pipelines.retrieval.graph.neighbour_lists import aggregate, merge
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan, Runs, TimeCuts
from roilake.pipelines.retrieval.graph.spill import LEFT_OUT, files_of, spill_slices

START = datetime(2020, 1, 1, tzinfo=UTC)
INSTANTS = tuple(date(2020, 1, day) for day in (2, 3, 5))
NODES = {"user": 4, "query": 3, "item": 5}
FIRST = int(datetime(2009, 1, 1, tzinfo=UTC).timestamp() * 1e6)
SIMILAR = EDGE_TYPES.index("item_item_similar")

Rows = dict[tuple, dict]


class Event(NamedTuple):
    user: int
    query: int | None
    item: int
    time: datetime
    session: int


def kept_in_order(events: list[Event]) -> list[Event]:
    """As the table promises: a session lies together, in order of time."""
    return sorted(events, key=lambda e: (e.user, e.session, e.time))


def write_events(file: Path, events: list[Event], group: int) -> None:
    def keys(letter: str, numbers: list[int | None]) -> pa.Array:
        return pa.array([None if n is None else f"{letter}{n}" for n in numbers], pa.string())

    columns = {
        "time": pa.array([e.time for e in events], pa.timestamp("us", "UTC")),
        "user": keys("u", [e.user for e in events]),
        "query": keys("q", [e.query for e in events]),
        "item": keys("i", [e.item for e in events]),
        "session": keys("s", [e.session for e in events]),
    }
    pq.write_table(pa.table(columns), file, row_group_size=group)


@contextmanager
def planned(**changes: object) -> Iterator[Plan]:
    """A plan in a folder of its own, with keys laid out."""
    with tempfile.TemporaryDirectory() as folder:
        ids = [{"node_type": kind, "key": f"{kind[0]}{n}", "id": n} for kind in NODES for n in range(NODES[kind])]
        counts = build.write_keys(Path(folder), pa.Table.from_pylist(ids[::-1]))
        assert counts == NODES
        plan = Plan(Path(folder), date(2020, 1, 4), INSTANTS, 1.0, 10, counts, parts=2, timed=True, first=FIRST)
        yield replace(plan, **changes)  # type: ignore[arg-type]


def built(plan: Plan, events: list[Event], *, cuts: int = 1, group: int = 3, task_rows: int = 4) -> tuple[Rows, Rows]:
    """Rows of edges and of adjacency. Users are cut into ``cuts`` files, files into row groups, those into tasks."""
    spilled(plan, events, cuts, group, task_rows)
    return listed(plan)


def spilled(plan: Plan, events: list[Event], cuts: int = 1, group: int = 3, task_rows: int = 4) -> None:
    for cut in range(cuts):
        mine = [event for event in events if event.user % cuts == cut]
        write_events(plan.folder / f"{cut}.parquet", kept_in_order(mine), group)
    paths = [str(plan.folder / f"{cut}.parquet") for cut in range(cuts)]
    for number, task in enumerate(plan_slices(paths, task_rows)):
        spill_slices(plan, number, task)


def listed(plan: Plan) -> tuple[Rows, Rows]:
    found: dict[str, Rows] = {"edges": {}, "adjacency": {}}
    parts = [part for s in STREAMS for p in range(plan.parts) for part in aggregate(plan, s, p)]
    parts += [part for p in range(plan.parts) for part in merge(plan, p)]
    for table, rows in parts:
        for row in rows.to_pylist():
            key = (row["as_of"], row["edge_type"], row["src"], *([row["dst"]] if table == "edges" else []))
            assert key not in found[table]
            found[table][key] = row
    return found["edges"], found["adjacency"]


def contributions(events: list[Event]) -> Iterator[tuple[str, int, int, datetime]]:
    """What edges sum up, event by event."""
    before: dict[tuple[int, int], int] = {}
    for event in kept_in_order(events):
        ends = {"user": event.user, "query": event.query, "item": event.item}
        pairs = [("user", "query"), ("user", "item"), ("query", "item")]
        for a, b in [*pairs, *(pair[::-1] for pair in pairs)]:
            if ends[a] is not None and ends[b] is not None:
                yield f"{a}_{b}", ends[a], ends[b], event.time  # type: ignore[misc]
        last = before.get((event.user, event.session))
        if last is not None and last != event.item:
            yield "item_item", last, event.item, event.time
            yield "item_item", event.item, last, event.time
        before[event.user, event.session] = event.item


def naive(events: list[Event], plan: Plan) -> dict[tuple, tuple[float, datetime, datetime]]:
    """The definition, pair by pair."""
    edges = {}
    for instant in plan.instants:
        midnight = datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
        past: dict[tuple, list[datetime]] = defaultdict(list)
        for edge_type, src, dst, time in contributions(events):
            if time < midnight:
                past[instant, edge_type, src, dst].append(time)
        for key, times_ in past.items():
            age = [(midnight - time).total_seconds() / 86_400 for time in times_]
            weight = sum(2 ** (-a / plan.half_life_days) for a in age)
            edges[key] = (weight, min(times_), max(times_))
    return edges


def strongest(edges: Rows, key: tuple, limit: int) -> list[int]:
    mine = [row for k, row in edges.items() if k[:3] == key]
    return [row["dst"] for row in sorted(mine, key=lambda row: (-row["weight"], row["dst"]))[:limit]]


times = st.integers(0, 6 * 24).map(lambda hour: START + timedelta(hours=hour))
some_events = st.builds(
    Event, st.integers(0, 3), st.none() | st.integers(0, 2), st.integers(0, 4), times, st.integers(0, 2)
)


@settings(max_examples=15, deadline=None)
@given(
    # Times of a session differ, so that its order is the definition's.
    events=st.lists(some_events, max_size=30, unique_by=lambda e: (e.user, e.session, e.time)),
    half_life=st.sampled_from([0.05, 1.0, 180.0]),
    limit=st.integers(1, 3),
    parts=st.integers(1, 4),
    cuts=st.integers(1, 3),
    group=st.integers(1, 5),
)
def test_edges_sum_up_exactly_the_events_before_their_instant(
    events: list[Event], half_life: float, limit: int, parts: int, cuts: int, group: int
) -> None:
    chosen = {"half_life_days": half_life, "max_neighbours": limit}
    with planned(**chosen, parts=1) as plan:
        edges, lists = built(plan, events)
        expected = naive(events, plan)
        late = any(event.time >= datetime(2020, 1, 5, tzinfo=UTC) for event in events)
        assert (plan.folder / LEFT_OUT).exists() == late
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
    with planned(**chosen, parts=parts) as plan:
        build.write_spread(plan, [("user", 0, 3 * build.HUB_EVENTS), ("item", 1, 9 * build.HUB_EVENTS)])
        assert built(plan, events, cuts=cuts, group=group, task_rows=group) == (edges, lists)
    with planned(**chosen, parts=parts, timed=False) as plan:
        assert built(plan, events, cuts=cuts) == ({}, lists)


@settings(max_examples=15, deadline=None)
@given(
    nights=st.lists(st.lists(some_events, max_size=12, unique_by=lambda e: e.time), min_size=4, max_size=4),
    half_life=st.sampled_from([0.05, 0.3, 1.0, 180.0]),
    spread=st.booleans(),
)
def test_sums_of_earlier_nights_give_the_bits_of_a_build_of_all_events(
    nights: list[list[Event]], half_life: float, spread: bool
) -> None:
    """Each night has its own files, with events of any time; the first and the third compact what is there."""
    whole = [event._replace(session=10 * n + event.session) for n, night in enumerate(nights) for event in night]
    chosen = {"half_life_days": half_life, "parts": 3}
    with tempfile.TemporaryDirectory() as folder:
        snapshots: tuple[Runs, ...] = ()
        for number in range(len(nights)):
            last = {"instants": tuple(day + timedelta(days=number + 3) for day in INSTANTS)}
            with planned(**chosen, **last, snapshots=snapshots, compacting=number in (0, 2)) as plan:
                if spread:
                    build.write_spread(plan, [("user", 0, 3 * build.HUB_EVENTS)])
                spilled(plan, [e for e in whole if e.session // 10 == number])
                found = listed(plan)
                source = plan.compacted if plan.compacting else plan.own.folder
                if source.exists():
                    runs = Runs(Path(folder) / str(number), plan.nodes, plan.own.cuts)
                    source.rename(runs.folder)
                    snapshots = (runs,) if plan.compacting else (*snapshots, runs)
    with planned(**chosen, **last) as plan:
        assert built(plan, whole) == found


def test_cuts_hold_what_earlier_nights_have_summed_up_unless_they_would_part_it() -> None:
    def cuts(first: int, last: int, half_life: float = 3.0, since: int = FIRST) -> TimeCuts:
        return TimeCuts.of((date(2020, 1, first), date(2020, 1, last)), half_life, since)

    earlier = cuts(2, 9)
    for first, last, holds in [(2, 9, True), (3, 10, True), (9, 16, True), (1, 10, False), (2, 8, False)]:
        assert cuts(first, last).holds(earlier) == holds, (first, last)
    assert not cuts(2, 9, half_life=3.1).holds(earlier)
    noon = int(datetime(2020, 1, 5, 12, tzinfo=UTC).timestamp() * 1e6)
    few = cuts(2, 9, since=noon)
    assert [datetime.fromtimestamp(at / 1e6, UTC).day for at in few.at_C] == [2, 6, 7, 8, 9]
    assert cuts(2, 9).holds(few)  # a late event, from before all that is summed up
    assert few.holds(earlier)


def test_a_hub_is_spread_evenly_and_its_list_is_that_of_one_part() -> None:
    """User 0 has 9 of 10 events; spread over all parts, none holds much more than its share."""
    draw = np.random.default_rng(0)
    items = 20_000
    users = np.where(draw.random(items) < 0.9, 0, draw.integers(1, 4, items))
    events = [Event(int(u), None, n, START + timedelta(seconds=n), 0) for n, u in enumerate(users)]
    ids = [{"node_type": "item", "key": f"i{n}", "id": n} for n in range(items)]
    ids += [{"node_type": "user", "key": f"u{n}", "id": n} for n in range(4)]
    found = []
    for parts, spread in ((1, 1), (8, 255)):
        with planned(parts=parts, max_neighbours=50, timed=False) as plan:
            nodes = build.write_keys(plan.folder / "own", pa.Table.from_pylist(ids))
            (plan.folder / "keys").rename(plan.folder / "old")
            (plan.folder / "own" / "keys").rename(plan.folder / "keys")
            plan = replace(plan, nodes=nodes)
            if spread > 1:
                build.write_spread(plan, [("user", 0, spread * build.HUB_EVENTS)])
            found.append(built(plan, events, group=3000, task_rows=6000)[1])
            largest, total = np.zeros(parts), 0
            for file in files_of(plan.folder / "runs" / "user_item"):
                sizes = np.diff(np.fromfile(file, np.int64, parts + 1))
                largest, total = largest + sizes, total + sizes.sum()
    assert found[0] == found[1]
    assert len(found[0][INSTANTS[0], "user_item", 0]["neighbours"]) == 50
    assert largest.max() < 2 * total / parts  # the other users lie whole in some part


@pytest.mark.parametrize("most", [1, 50, 128, 129, 300])
def test_lists_hold_the_strongest_however_many_are_asked_for(most: int) -> None:
    draw = np.random.default_rng(most)
    source, target = (np.sort(draw.integers(0, 7, 4000)).astype(np.int32), np.arange(4000, dtype=np.int32))
    weight = draw.integers(0, 900, 4000).astype(np.float32)  # with ties
    bytes_, offsets = kernel.spill_lists(source, target, weight, 7, most, 1)
    assert offsets.tolist() == [0, len(bytes_)]
    lists = kernel.merge_lists([bytes_.copy()], most)
    assert lists.source.tolist() == list(range(7))
    for node in range(7):
        mine = np.flatnonzero(source == node)
        expected = mine[np.lexsort((mine, -weight[mine]))][:most]
        found = slice(lists.starts[node], lists.starts[node + 1])
        assert lists.ids[found].tolist() == expected.tolist()
        assert (lists.weights[found] == weight[expected]).all()


def test_many_old_events_sum_up_without_overflow_or_loss() -> None:
    old = START - timedelta(days=4000)
    events = [Event(0, None, item, time, n) for n in range(1000) for item, time in ((0, old), (1, START))]
    with planned(instants=INSTANTS[:1]) as plan:
        edges, _ = built(plan, events, group=700, task_rows=700)
    assert edges[INSTANTS[0], "user_item", 0, 0]["weight"] == 0.0
    assert edges[INSTANTS[0], "user_item", 0, 1]["weight"] == np.float32(500.0)


def test_a_pair_that_does_not_fit_its_key_is_refused() -> None:
    with (
        planned(nodes={"user": 2**31, "query": 1, "item": 2**31}) as plan,
        pytest.raises(RoilakeError, match="user_item pairs at 11 days and landmarks need 66 bits, of 64; plan fewer"),
    ):
        plan.own.key(("user", "item"))


def test_a_task_that_runs_twice_changes_nothing() -> None:
    events = [Event(n % 4, n % 3, n % 5, START + timedelta(minutes=n), 0) for n in range(40)]
    with planned() as plan:
        once = built(plan, events)
        again = built(plan, events)
    assert once == again


def test_similarity_does_not_decay_and_is_cut_to_the_top_among_the_seen() -> None:
    later = START + timedelta(hours=25)
    columns = {
        "edge_type": pa.array([SIMILAR] * 4, pa.int32()),
        "src": pa.array([0] * 4, pa.int32()),
        "dst": pa.array([3, 2, 1, 4], pa.int32()),
        "time": pa.array([START, START, START, later], pa.timestamp("us", "UTC")),
        "weight": pa.array([0.5, 0.5, 0.4, 0.9], pa.float32()),
    }
    rules = SimilarityRules(date(2020, 1, 4), INSTANTS, top_similar=2, max_neighbours=1, with_edges=True)
    tables = [(name, row) for name, rows in rules.tables(pa.table(columns)) for row in rows.to_pylist()]
    edges = [row for name, row in tables if name == "edges"]
    assert sorted((row["as_of"].day, row["dst"]) for row in edges) == [(2, 2), (2, 3), (3, 2), (3, 4), (5, 2), (5, 4)]
    assert all(row["first_time"] == row["last_time"] == (later if row["dst"] == 4 else START) for row in edges)
    lists = {row["as_of"].day: (row["neighbours"], row["weights"]) for name, row in tables if name == "adjacency"}
    assert lists == {2: ([2], [0.5]), 3: ([4], [np.float32(0.9)]), 5: ([4], [np.float32(0.9)])}
    assert all(row["edge_type"] == "item_item_similar" and row["src"] == 0 for _, row in tables)
    without = SimilarityRules(date(2020, 1, 4), INSTANTS, top_similar=2, max_neighbours=1, with_edges=False)
    assert {name for name, _ in without.tables(pa.table(columns))} == {"adjacency"}


def test_similar_pairs_become_contributions(spark: SparkSession) -> None:
    pairs = spark.createDataFrame(
        [("item_query_similar", 1, 2, 0.5, START)],
        "edge_type string, src int, dst int, weight float, first_time timestamp",
    )
    row = similarity_contributions(pairs).collect()[0]
    assert (EDGE_TYPES[row.edge_type], row.src, row.dst, row.weight) == ("item_query_similar", 1, 2, 0.5)
