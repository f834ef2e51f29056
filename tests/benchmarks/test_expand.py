"""The fractal expansion: as many events as asked for, however cut, with the promised order and the real shape."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from roilake.errors import ConfigError
from tests.benchmarks.expand_events import parse_edges, row_groups
from tests.benchmarks.expanding import Expansion, degree_shape, expand_rows, read_base, rows_of_events


@pytest.fixture(scope="module")
def expansion() -> Expansion:
    """Thirty times 2,000 events of 60 users and 90 items of unequal activity and popularity."""
    draw = np.random.default_rng(1)
    users, items = (60 * draw.random(2000) ** 2).astype(int), (90 * draw.random(2000) ** 3).astype(int)
    times = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=int(m)) for m in draw.integers(0, 90_000, 2000)]
    real = pa.table(
        {
            "user": [f"user{n}" for n in users],
            "item": [f"item{n}" for n in items],
            "query": [None if n % 10 == 0 else f"query{n % 7}" for n in items],
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "event_type": ["click"] * 2000,
            "value": draw.integers(1, 6, 2000).astype(float),
        }
    )
    return Expansion.of(read_base(real), 60_000, seed=3, gap_minutes=30)


def test_rows_are_the_same_however_they_are_cut(expansion: Expansion) -> None:
    whole = rows_of_events(expansion, expand_rows(expansion, range(expansion.rows)))
    cut = [rows_of_events(expansion, expand_rows(expansion, range(n, n + 1))) for n in range(expansion.rows)]
    assert [row for part in cut for row in part.to_pylist()] == whole.to_pylist()
    assert abs(len(whole) - 60_000) < 1_000
    assert [n for rows in row_groups(expansion) for n in rows] == list(range(expansion.rows))


def test_ids_are_unique_and_sessions_lie_together_in_order(expansion: Expansion) -> None:
    rows = rows_of_events(expansion, expand_rows(expansion, range(expansion.rows))).to_pylist()
    assert len({row["event_id"] for row in rows}) == len(rows)
    keys = [(row["user"], row["session"]) for row in rows]
    starts = [n for n in range(len(rows)) if n == 0 or keys[n] != keys[n - 1]]
    assert len(starts) == len(set(keys))
    for before, row in itertools.pairwise(rows):
        if before["user"] == row["user"]:
            gap = (row["time"] - before["time"]).total_seconds()
            assert gap >= 0 and (gap > 1800) == (before["session"] != row["session"])
            assert (before["time"], before["event_id"]) < (row["time"], row["event_id"])
    assert {row["query"] is None for row in rows} == {True, False}


def test_degrees_keep_their_shape(expansion: Expansion) -> None:
    """Degrees are products: as unequal as the real ones at least, and in the same order of nodes within a block."""
    some = expand_rows(expansion, range(expansion.rows))
    for number, real, nodes in (
        (some.user_K % expansion.base.users, expansion.base.user_N, expansion.base.users),
        (some.item_K // expansion.columns, expansion.base.item_N, expansion.base.items),
    ):
        share = np.bincount(number, minlength=nodes) / len(number)
        assert np.abs(share - np.bincount(real, minlength=nodes) / len(real)).max() < 0.01
    for expanded, real in ((some.user_K, expansion.base.user_N), (some.item_K, expansion.base.item_N)):
        before, after = degree_shape(np.bincount(real)), degree_shape(np.bincount(expanded))
        assert before["gini"] < after["gini"] < before["gini"] + 0.25
        assert after["rank_slope"] < before["rank_slope"] < 0


def test_keys_are_spelt_once_a_row_group(expansion: Expansion) -> None:
    rows = rows_of_events(expansion, expand_rows(expansion, range(2)))
    users = rows["user"].combine_chunks()
    assert len(users.dictionary) == pc.count_distinct(users.dictionary).as_py() <= 2 * expansion.base.users
    assert parse_edges("1e8") == 100_000_000


@pytest.mark.parametrize("text", ["many", "1e11", "-5", "nan"])
def test_a_bad_number_of_edges_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no number of events from 1e3 to 1e10"):
        parse_edges(text)
