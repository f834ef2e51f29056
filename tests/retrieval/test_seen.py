"""Items that users had before their requests, and the rule by which a night leaves them out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roilake.lake import DataFile
from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.seen import Had, Seen, SeenRule
from tests.retrieval.feed.data import write_file

EVENTS = st.lists(st.tuples(st.integers(3, 6), st.integers(0, 5), st.integers(0, 7)), max_size=40)


def histories_of(events: list[tuple[int, int, int]]) -> Histories:
    """Of (user, time, item)."""
    user, time, item = np.array(events, np.int64).reshape(-1, 3).T
    return Histories.of(user, time, item, np.full(len(events), -1))


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), max_size=12))
def test_seen_is_what_the_user_had_strictly_before(events: list, asked: list) -> None:
    """Ties in time included, whatever the order of events; users without any and strangers too."""
    user, time = np.array(asked, np.int64).reshape(-1, 2).T
    seen = Had.of(histories_of(events)).before(user, time)
    expected = [sorted({i for u, t, i in events if u == user_ and t < time_}) for user_, time_ in asked]
    first, item = seen.hidden(slice(0, len(asked)))
    assert [item[low:high].tolist() for low, high in pairwise(first)] == expected
    row, every = (each.ravel() for each in np.indices((len(asked), 9)))
    assert seen.holds(row, every).tolist() == [i in expected[r] for r, i in zip(row, every, strict=True)]
    some = seen.of(np.arange(len(asked))[::-2])
    assert some.hidden(slice(0, len(some.user_R)))[1].tolist() == [i for own in expected[::-2] for i in own]


def test_a_history_longer_than_the_cap_is_seen_whole() -> None:
    events = [(1, time, time % 500) for time in range(1000)]
    seen = Had.of(histories_of(events)).before(np.array([1, 1]), np.array([1000, 450]))
    assert np.diff(seen.hidden(slice(0, 2))[0]).tolist() == [500, 450]


def test_of_one_instant_alone_nothing_is_seen() -> None:
    seen = Had.of(histories_of([(1, 7, item) for item in range(5)])).before(np.array([1]), np.array([7]))
    assert seen.hidden(slice(0, 1))[1].size == 0 and not seen.holds(np.zeros(5, int), np.arange(5)).any()
    assert Seen.nothing(3).hidden(slice(1, 3))[0].tolist() == [0, 0, 0]


@pytest.fixture()
def rois(tmp_path: Path) -> list[DataFile]:
    """Regions of 300 positives, two of which are repeats; of requests to serve; and of items."""

    def write(side: str, name: str, positives: list[list[int]], repeats: list[int]) -> DataFile:
        columns = {"positives": pa.array(positives, pa.list_(pa.int32())), "repeats": pa.array(repeats, pa.int32())}
        return write_file(tmp_path, name, pa.table(columns), {"side": side})

    return [
        write("request", "train", [[1, 2]] * 100, [2] + [0] * 99),
        write("request", "test", [[1]] * 100, [0] * 100),
        write("request", "serve", [[]] * 50, [0] * 50),
        write("item", "items", [[]] * 9, [0] * 9),
    ]


def test_seen_items_are_left_out_where_repeats_are_rare(rois: list[DataFile]) -> None:
    rule = SeenRule.of("auto", rois)
    assert rule == SeenRule(True, 2, 300)
    assert rule.details == {"rule": "drop", "repeats": 2, "positives": 300, "share": 2 / 300}
    assert not SeenRule.of("auto", rois[:1]).drop  # 2 of 200 are 1 %
    assert [SeenRule.of(how, rois).drop for how in ("keep", "drop")] == [False, True]


def test_without_a_positive_nothing_tells_that_repeats_are_rare() -> None:
    assert SeenRule.of("auto", []).details == {"rule": "keep", "repeats": 0, "positives": 0, "share": None}
