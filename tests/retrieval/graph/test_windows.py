"""Windows are counted back from the end of the night."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roilake.pipelines.retrieval.config import WindowsConfig
from roilake.pipelines.retrieval.graph import plan_windows

DS = date(1998, 4, 10)


def test_first_night_in_days() -> None:
    windows = plan_windows(WindowsConfig(length="7d", train=2, validation=1, test=1), DS, None)
    assert [(w.as_of, w.end, w.split) for w in windows] == [
        (date(1998, 3, 14), date(1998, 3, 21), "train"),
        (date(1998, 3, 21), date(1998, 3, 28), "train"),
        (date(1998, 3, 28), date(1998, 4, 4), "validation"),
        (date(1998, 4, 4), date(1998, 4, 11), "test"),
        (date(1998, 4, 11), date(1998, 4, 11), "serve"),
    ]


def test_months_keep_the_day_or_take_the_last_one() -> None:
    windows = plan_windows(WindowsConfig(length="3mo", train=1, validation=1, test=1), date(2010, 12, 31), None)
    assert [w.as_of for w in windows] == [date(2010, 4, 1), date(2010, 7, 1), date(2010, 10, 1), date(2011, 1, 1)]
    windows = plan_windows(WindowsConfig(length="1mo", train=1, validation=1, test=1), date(2020, 3, 30), None)
    assert [w.as_of for w in windows] == [date(2019, 12, 31), date(2020, 1, 31), date(2020, 2, 29), date(2020, 3, 31)]


@pytest.mark.parametrize(
    ("train_end", "train"),
    [
        (date(1998, 3, 28), []),  # the last model was trained up to the validation window: nothing is new
        (date(1998, 4, 5), []),
        (date(1998, 3, 27), [(date(1998, 3, 27), date(1998, 3, 28))]),
        (date(1998, 3, 17), [(date(1998, 3, 17), date(1998, 3, 21)), (date(1998, 3, 21), date(1998, 3, 28))]),
    ],
)
def test_a_later_night_learns_only_from_what_the_last_model_has_not_seen(
    train_end: date, train: list[tuple[date, date]]
) -> None:
    windows = plan_windows(WindowsConfig(length="7d", train=12, validation=1, test=1), DS, train_end)
    assert [(w.as_of, w.end) for w in windows if w.split == "train"] == train
    assert [w.split for w in windows[-3:]] == ["validation", "test", "serve"]


@given(
    length=st.sampled_from(["1d", "7d", "30d", "1mo", "3mo"]),
    counts=st.tuples(*[st.integers(1, 5)] * 3),
    ds=st.dates(date(1990, 1, 1), date(2030, 1, 1)),
    back=st.none() | st.integers(0, 400),
)
def test_windows_are_in_order_without_gap_or_overlap(
    length: str, counts: tuple[int, int, int], ds: date, back: int | None
) -> None:
    config = WindowsConfig(length=length, train=counts[0], validation=counts[1], test=counts[2])
    train_end = None if back is None else ds - timedelta(days=back)
    windows = plan_windows(config, ds, train_end)
    assert all(a.end == b.as_of for a, b in itertools.pairwise(windows))
    assert all(w.as_of < w.end for w in windows[:-1])
    assert windows[-1].as_of == windows[-1].end == ds + timedelta(days=1)
    assert train_end is None or all(w.as_of >= train_end for w in windows if w.split == "train")
