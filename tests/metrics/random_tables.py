"""Random tables whose metrics arrays and Spark must agree on: few ids, so that scores, users and requests tie."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pandas as pd
from hypothesis import strategies as st

IDS: dict[str, Callable[[int], Any]] = {
    "bigint": lambda number: 2**53 - number,
    "string": lambda number: "0" * (number % 2) + ("é" if number % 3 else "Z") * (number % 4) + str(number // 2),
    "double": lambda number: (number + 1) * 1e300 if number % 4 == 3 else number + [0.5, 0.1, 0.0][number % 4],
    "date": lambda number: date(2026, 8, 1) + timedelta(number),
}
"""The id of a number below 100, by its type in Spark. "0" is not "00", nor is 2^53 that less 1."""
PARTS, REQUESTS, ITEMS = 12, 4, 6
EVENTS = [5.0, 0.0, 1.0, 30.0, 2.0, 2.0]
VECTORS = [[1.0, 0.0], [0.0, 0.0], [0.6, 0.8], [-1.0, 0.0], [0.5, 2.0], [0.0, -1.0]]
_SCORES = st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.75, 1.0])
_ROW = st.tuples(
    st.integers(0, REQUESTS - 1), st.integers(0, ITEMS - 1), st.integers(0, 1), _SCORES, _SCORES,
    st.sampled_from([1, 1, 1, 0]),
)  # fmt: skip
_ROWS = st.lists(_ROW, max_size=16, unique_by=lambda row: row[:2])
_USER_AND_WEIGHT = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.5]))
_REQUESTS = st.lists(_USER_AND_WEIGHT, min_size=REQUESTS, max_size=REQUESTS)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of several tables, numbered in column ``part``; ids are numbers."""
    return [
        {
            "part": part, "user": place[0], "request": REQUESTS * part + request, "item": item, "label": label,
            "score": score, "other": other, "weight": place[1], "shown": shown,
        }
        for part in range(PARTS)
        for requests in [draw(_REQUESTS)]
        for request, item, label, score, other, shown in draw(_ROWS)
        for place in [requests[request]]
    ]  # fmt: skip


def with_ids(rows: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    """The rows with users, requests and items of a type each."""
    made = {name: [IDS[kind](row[name]) for row in rows] for name, kind in kinds.items()}
    rest = ["part", "label", "score", "other", "weight", "shown"]
    return pd.DataFrame({**made, **{name: [row[name] for row in rows] for name in rest}})
