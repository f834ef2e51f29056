"""A digest is of the rows alone: not of their order, nor of how they are cut into files."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from roilake.lake.digests import digest

MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
ROWS = pa.table(
    {
        "long": pa.array([1, None, 3, 0]),
        "byte": pa.array([1, 2, 3, 4], pa.int8()),
        "double": pa.array([0.5, 1.0, None, 2.0]),
        "float": pa.array([0.5, float("nan"), 1.0, 2.0], pa.float32()),
        "boolean": pa.array([True, False, None, True]),
        "string": pa.array(["é", "", None, "tea"]),
        "date": pa.array([date(2020, 1, 1)] * 4),
        "timestamp": pa.array([MOMENT] * 4, pa.timestamp("us", tz="UTC")),
        "ids": pa.array([[1, 2], [], None, [2, 1]], pa.list_(pa.int32())),
        "words": pa.array([["a", "b"], [None], ["ab"], ["a", ""]]),
        "fields": pa.array([[("k", "v")], [], None, [("v", "k")]], pa.map_(pa.string(), pa.string())),
    }
)


def test_order_and_files_do_not_count() -> None:
    assert digest(ROWS.take([2, 0, 3, 1])) == digest(ROWS) == digest(ROWS.select(ROWS.column_names[::-1]))
    parts = [digest(ROWS.slice(0, 1)), digest(ROWS.slice(1, 3))]
    assert sum(parts) % (1 << 64) == digest(ROWS)
    assert digest(pa.concat_tables([ROWS, ROWS])) != digest(ROWS)


def test_columns_without_a_value_may_lack_their_buffers() -> None:
    """As Spark sends what lists and maps hold that are all empty."""
    none = pa.Array.from_buffers(pa.string(), 0, [None, pa.py_buffer(b""), pa.py_buffer(b"")])
    lists = pa.ListArray.from_arrays(pa.array([0, 0, 0], pa.int32()), none)
    assert digest(pa.table({"words": lists})) == digest(pa.table({"words": pa.array([[], []], lists.type)}))
    assert digest(ROWS.slice(0, 0)) == 0


@pytest.mark.parametrize("column", ROWS.column_names)
def test_every_value_counts(column: str) -> None:
    """Of four values, any two of which may be equal, each column tells as many apart."""
    values = ROWS.select([column])
    apart = {str(value) for value in values[column].to_pylist()}
    assert len({digest(values.slice(row, 1)) for row in range(4)}) == len(apart)


def test_values_that_change_places_are_other_rows() -> None:
    first, second = pa.table({"a": [[1.0, 2.0]], "b": ["x"]}), pa.table({"a": [[2.0, 1.0]], "b": ["x"]})
    assert digest(first) != digest(second)
    assert digest(pa.table({"a": ["x", "y"], "b": ["p", "q"]})) != digest(pa.table({"a": ["x", "y"], "b": ["q", "p"]}))
    assert digest(pa.table({"a": ["ab"], "b": ["c"]})) != digest(pa.table({"a": ["a"], "b": ["bc"]}))
