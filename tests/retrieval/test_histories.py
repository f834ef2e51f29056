"""What histories tell of a request's items, against loops over events."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from roilake.pipelines.retrieval.histories import DAY, Histories

USERS, ITEMS = 3, 4
events = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, 5), st.integers(0, ITEMS - 1)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(events=events, user=st.integers(0, USERS), day=st.integers(0, 6))
def test_days_are_those_since_the_newest_event_with_an_item(
    events: list[tuple[int, int, int]], user: int, day: int
) -> None:
    """``items`` marks the same places, also where an event was today."""
    user_E, day_E, item_E = np.array(events).T
    known = Histories.of(user_E, day_E * DAY, item_E, np.full_like(item_E, -1))
    newest = {i: max(d for u, d, j in events if (u, j) == (user, i) and d < day) for i in _had(events, user, day)}
    asked = np.array([user]), np.array([day * DAY])
    found = known.days(*asked, ITEMS)
    days = dict(zip(found.indices.tolist(), found.data.tolist(), strict=True))
    assert days == {item: day - last for item, last in newest.items()}
    assert sorted(known.items(*asked, ITEMS, None).indices.tolist()) == sorted(newest)


@settings(deadline=None)
@given(events=events, most=st.integers(1, 9), half_life=st.none() | st.floats(0.5, 9.0))
def test_items_count_less_for_each_newer_one(
    events: list[tuple[int, int, int]], most: int, half_life: float | None
) -> None:
    user_E, day_E, item_E = np.array(events).T
    known, asked = Histories.of(user_E, day_E, item_E, np.full_like(item_E, -1)), np.arange(USERS)
    expected = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        own = sorted((day, item) for other, day, item in events if other == user and day < 5)[-most:]
        for newer, item in enumerate(dict.fromkeys(item for _, item in reversed(own))):
            expected[user, item] = 1.0 if half_life is None else 0.5 ** (newer / half_life)
    found = known.items(asked, np.full(USERS, 5), ITEMS, most, half_life)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)


def _had(events: list[tuple[int, int, int]], user: int, day: int) -> set[int]:
    return {item for other, time, item in events if other == user and time < day}
