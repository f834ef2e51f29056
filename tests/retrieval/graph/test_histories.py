"""Histories hold the night's own events, each once, whole users a file; neither the cut into slices nor that into files
shows."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roilake.lake.digests import digest
from roilake.pipelines.retrieval.graph import histories, plan_slices
from roilake.pipelines.retrieval.graph.histories import cut_users, drop_spilled, user_rows
from roilake.pipelines.retrieval.graph.plan import Plan
from roilake.pipelines.retrieval.graph.spill import spill_slices
from tests.retrieval.graph.test_edges import START, Event, kept_in_order, planned, some_events, write_events

Row = tuple[int | datetime, ...]


def logged(plan: Plan, events: list[Event], *, cuts: int, group: int, task_rows: int, new: bool) -> None:
    """Spill the night's own events, in ``cuts`` files. Another file, of an earlier night, is in no history."""
    for cut in range(cuts):
        mine = [event for event in events if event.user % cuts == cut]
        write_events(plan.folder / f"{cut}.parquet", kept_in_order(mine), group)
    write_events(plan.folder / "other.parquet", [Event(0, None, 4, START - timedelta(days=9), 0)], group)
    own = [str(plan.folder / f"{cut}.parquet") for cut in range(cuts)]
    for number, task in enumerate(plan_slices([*own, str(plan.folder / "other.parquet")], task_rows, new=new, own=own)):
        spill_slices(plan, number, task)


def files(plan: Plan, most: int) -> list[pa.Table]:
    found = [[rows for _, rows in user_rows(plan, *users)] for users in cut_users(plan, most)]
    return [pa.concat_tables(tables) for tables in found]


def expected(events: list[Event]) -> list[Row]:
    return sorted({(e.user, e.time, e.item, -1 if e.query is None else e.query) for e in events})


def told(tables: list[pa.Table]) -> list[Row]:
    names = ("user", "time", "item", "query")
    return [tuple(row[name] for name in names) for rows in tables for row in rows.to_pylist()]


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(some_events, max_size=40),  # of few users, times, items and queries: many are alike
    cuts=st.integers(1, 3),
    group=st.integers(1, 9),
    task_rows=st.integers(1, 20),
    most=st.integers(1, 60),
    new=st.booleans(),
)
def test_every_event_of_the_night_is_there_once_in_order(
    events: list[Event], cuts: int, group: int, task_rows: int, most: int, new: bool
) -> None:
    """Also those after the last instant, and on a rerun, whose events (not ``new``) earlier sums hold already."""
    with planned() as plan:
        logged(plan, events, cuts=cuts, group=group, task_rows=task_rows, new=new)
        assert new or not plan.own.folder.exists()
        several, one = files(plan, most), files(plan, 1000)
        assert told(several) == told(one) == expected(events)
        assert sum(map(digest, several)) % 2**64 == sum(map(digest, one)) % 2**64
        assert len(one) == bool(events)
        largest = max((sum(e.user == user for e in events) for user in range(4)), default=0)
        assert all(len(table) < most + largest for table in several)
        assert not set(told(several[:1])) & set(told(several[1:]))
        drop_spilled(plan)
        assert files(plan, most) == []


def test_a_user_with_very_many_events_is_in_one_file_of_his_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "_ROW_GROUP", 100)
    events = [Event(1, None, n % 5, START + timedelta(seconds=-n % 977), 0) for n in range(5000)]
    events += [Event(user, 0, 0, START + timedelta(seconds=n), 0) for user in (0, 2, 3) for n in range(30)]
    with planned() as plan:
        logged(plan, events, cuts=1, group=700, task_rows=700, new=True)
        ranges = cut_users(plan, 100)
        groups = [[rows for _, rows in user_rows(plan, *users)] for users in ranges]
        assert [users for users in ranges if users[0] <= 1 < users[1]] == [(0, 2)] and ranges[-1][1] == 4
        assert max(len(rows) for tables in groups for rows in tables) == 100
        assert told([rows for tables in groups for rows in tables]) == expected(events)
        assert len(expected(events)) == 5 * 977 + 3 * 30
