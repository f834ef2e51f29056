"""A night whose rows do not add up, or that has come down to a few keys, is not published."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roilake.runtime.audit import check_keys, check_sources


def run(**details: Any) -> dict[str, Any]:
    return {"step": "ingest", "details": json.dumps(details)}


def test_each_row_of_each_source_is_accounted_for_once() -> None:
    counted = {"rows": 10, "taken": 5, "rejected": {"no user": 2}, "later": 1, "left_out": {"known": 2}}
    assert list(check_sources([run(), run(sources={"log": counted})])) == []
    (fault,) = check_sources([run(sources={"log": counted, "orders": {**counted, "taken": 4}})])
    assert fault == "ingest: 10 rows of source orders, but 9 accounted for"


@pytest.mark.parametrize(
    ("now", "before", "refused"),
    [
        ({"rows": 60, "user": 1}, 25, True),  # all of one user, of twenty-five
        ({"rows": 60, "user": 2}, 25, True),
        ({"rows": 60, "user": 3}, 25, False),
        ({"rows": 49, "user": 1}, 25, False),  # a quiet night
        ({"rows": 60, "user": 1}, 19, False),  # few users there are
    ],
)
def test_a_night_that_comes_down_to_few_keys(now: dict[str, int], before: int, refused: bool) -> None:
    runs = [run(keys={**now, "minimum": 3})]
    found = list(check_keys(runs, [run(keys={"rows": 900, "user": before, "minimum": 3})]))
    assert bool(found) == refused and list(check_keys(runs, [])) == []
    if refused:
        assert "different user keys in 60 rows, below minimum_keys 3, and 25 the night before" in found[0]
