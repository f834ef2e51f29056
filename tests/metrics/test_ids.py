"""Ids of any hashable type are told apart as Python does, ordered, and drawn as Spark's are."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from roilake.errors import MetricError
from roilake.metrics import measure_arrays
from roilake.metrics.ids import Ids, key_of


@pytest.mark.parametrize(
    ("ids", "codes", "values"),
    [
        (["01", "01", "1", "1"], [0, 0, 1, 1], ["01", "1"]),
        ([1, "1", 2.5, True, 1.0], [0, 2, 1, 0, 0], [1, 2.5, "1"]),
        ([("b", 0), ("a", 1), ("b", 0)], [1, 0, 1], [("a", 1), ("b", 0)]),
        ([2**63 + 1, -1, 2**63], [2, 0, 1], [-1, 2**63, 2**63 + 1]),
        ([9007199254740993, 9007199254740992.0], [1, 0], [9007199254740992, 9007199254740993]),
        ([date(2026, 8, 2), date(2026, 8, 1)], [1, 0], [date(2026, 8, 1), date(2026, 8, 2)]),
        ([UUID(int=2), UUID(int=1)], [1, 0], [UUID(int=1), UUID(int=2)]),
        ([torch.tensor(3), torch.tensor(3)], [0, 0], [3]),
        (np.array([1.2, 1.5, 1.2]), [0, 1, 0], [1.2, 1.5]),
        (np.array([2**63 + 1, 7], np.uint64), [1, 0], [7, 2**63 + 1]),
        (np.array(["b", "a"]), [1, 0], ["a", "b"]),
        (np.array([True, False]), [1, 0], [False, True]),
        (torch.tensor([3, 1, 3], dtype=torch.int16), [1, 0, 1], [1, 3]),
        (torch.tensor([1.5, -0.5]), [1, 0], [-0.5, 1.5]),
        (pd.Series(["b", "a", "b"], dtype="category"), [1, 0, 1], ["a", "b"]),
        (pd.Series([5, 3], index=[7, 7]), [1, 0], [3, 5]),
        (pa.chunked_array([["b"], ["a"]]), [1, 0], ["a", "b"]),
        ((), [], []),
    ],
)
def test_ids_are_numbered_in_their_order(ids: Any, codes: list[int], values: list[Any]) -> None:
    found = Ids.of("users", ids)
    assert (found.code_N.tolist(), found.plain) == (codes, values)
    assert len(set(found.keys.tolist())) == len(values)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["a", None, None], r"users must not be null: row 1 is \(2 such rows\)"),
        ([1.0, float("nan")], "users must not be null: row 1"),
        (pd.array([1, None], dtype="Int64"), "users must not be null: row 1"),
        (pa.array([None, 1]), "users must not be null: row 0"),
        (np.array(["NaT", "2026-08-01"], "M8[ns]"), "users must not be null: row 0"),
        (torch.tensor([1.0, float("nan")]), "users must not be null: row 1"),
        ([[1], [2]], "users must be hashable: unhashable type: 'list'"),
        (np.zeros((2, 2)), r"users \(2, 2\) must be a list of ids"),
        ("ab", r"users \(\) must be a list of ids"),
    ],
)
def test_what_is_no_id_is_refused(ids: Any, says: str) -> None:
    with pytest.raises(MetricError, match=says):
        Ids.of("users", ids)


def test_keys_are_numbers_themselves_and_spark_s_hashes() -> None:
    """The hashes are those of Spark 4.0.5's ``xxhash64``."""
    assert [key_of(each) for each in (7, 7.0, True, -(2**63))] == [7, 7, 1, -(2**63)]
    assert key_of("01") == -8957025103306517455 and key_of(b"01") == key_of("01") != key_of("1")
    assert key_of(2.5) == 2435211733827758672 and key_of(float("inf")) != key_of(1e300)


@pytest.mark.parametrize("make", [list, np.array])
def test_text_users_are_as_many_as_there_are(make: Any) -> None:
    rows = {"labels": [1, 0, 1, 0], "scores": [0.9, 0.1, 0.2, 0.8]}
    found = measure_arrays(**rows, metrics=["gauc"], users=make(["01", "01", "1", "1"]))["gauc"]
    assert found.value == 0.5
    together = measure_arrays(**rows, metrics=["gauc"], users=[1, 1.0, True, 1])["gauc"]
    assert together.value == 0.75
