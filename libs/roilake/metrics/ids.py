"""Ids of users, requests and items: any hashable type, numbered from 0 in their order.

Legend: N rows, U distinct ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, host, namespace

SEED = 42
"""That of Spark's ``xxhash64``: a table's users are drawn as those of arrays are."""


@dataclass(frozen=True)
class Ids:
    """``code_N`` numbers the id of each row from 0: an array, or a tensor where the ids are one. ``values`` are the
    distinct ids in order: numbers by size, texts by code point, what cannot be compared by type and then as it first
    appears. Ids are one where Python calls them equal (1, 1.0 and True; not "1")."""

    code_N: Array
    values: NDArray | list[Any]

    @classmethod
    def of(cls, name: str, ids: Any) -> Ids:
        """From a tensor, an array, a list or a column of a data frame [N]. MetricError, which calls them ``name``, for
        a null (None, NaN, NaT) or an id that is not hashable."""
        if hasattr(ids, "to_pylist"):
            ids = ids.to_pylist()
        array = ids if namespace(ids) is not np else _objects(ids) if isinstance(ids, list | tuple) else np.asarray(ids)
        if array.ndim != 1:
            raise MetricError(f"{name} {tuple(array.shape)} must be a list of ids")
        if namespace(array) is not np or array.dtype.kind in "biuf":
            return _of_numbers(name, array)
        return _of_objects(name, np.asarray(pd.Series(array), object))

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """What each distinct id is drawn by [U]: a whole number is its own key, all else has one by its hash."""
        if isinstance(self.values, np.ndarray) and self.values.dtype.kind in "bi":
            return self.values.astype(np.int64)
        return np.fromiter(map(key_of, self.plain), np.int64, len(self.values))

    @property
    def plain(self) -> list[Any]:
        """The distinct ids as Python has them."""
        found: list[Any] = self.values.tolist() if isinstance(self.values, np.ndarray) else self.values
        return found


def key_of(value: Any) -> int:
    """The id's own number if it is whole and has 64 bits, or a hash: of texts, bytes and other numbers that of Spark's
    ``xxhash64``, of all else that of its text."""
    if isinstance(value, int | float) and -(2**63) <= value < 2**63 and value == int(value):
        return int(value)
    if isinstance(value, float):
        value = np.float64(value).tobytes()
    data = value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
    return int(np.uint64(xxh64_intdigest(data, SEED)).astype(np.int64))


def _objects(ids: Sequence[Any]) -> NDArray[np.object_]:
    """Each id as it is: numpy would make texts of [1, "a"], and fractions of large numbers."""
    plain = ids if namespace(*ids) is np else [each.item() if hasattr(each, "item") else each for each in ids]
    return np.fromiter(plain, object, len(plain))


def _of_numbers(name: str, ids: Array) -> Ids:
    _refuse_nulls(name, host(ids != ids).nonzero()[0])
    found, code_N = namespace(ids).unique(ids, return_inverse=True)
    return Ids(code_N, host(found))


def _of_objects(name: str, ids: NDArray[np.object_]) -> Ids:
    numbers: dict[Any, int] = {}
    try:
        first_N = np.fromiter((numbers.setdefault(value, len(numbers)) for value in ids), np.int64, len(ids))
    except TypeError as error:
        raise MetricError(f"{name} must be hashable: {error}") from error
    values = [value.item() if isinstance(value, np.generic) else value for value in numbers]
    _refuse_nulls(name, np.isin(first_N, pd.isna(_objects(values)).nonzero()[0]).nonzero()[0])
    order_U = np.array(_in_order(values), np.int64)
    code_U = np.empty_like(order_U)
    code_U[order_U] = np.arange(len(values))
    return Ids(code_U[first_N], [values[number] for number in order_U])


def _in_order(values: Sequence[Any]) -> list[int]:
    """Indices that sort the values; ids of unlike types by type and then by value, if it can be compared."""

    def by_type(number: int) -> tuple[str, Any]:
        value = values[number]
        return "" if isinstance(value, int | float) else type(value).__name__, value

    for key in (values.__getitem__, by_type):
        try:
            return sorted(range(len(values)), key=key)
        except TypeError:
            continue
    return list(range(len(values)))


def _refuse_nulls(name: str, rows: NDArray[np.int64]) -> None:
    if len(rows):
        raise MetricError(f"{name} must not be null: row {rows[0]} is ({len(rows)} such rows)")
