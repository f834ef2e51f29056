"""What users did before a request's time, from the files of table ``histories``.

Legend of shape suffixes: U users, E events, R requests, I items, L length of a list, P pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from roilake.lake import DataFile, Lake

Ids = NDArray[np.int32]
Longs = NDArray[np.int64]
COLUMNS = ("user", "time", "item", "query")
DAY = 86_400_000_000


@dataclass(frozen=True)
class Histories:
    """Events of some users, by (user, time, item, query). Those of user ``first + u`` lie at
    ``start_U1[u] <= e < start_U1[u + 1]``; a user that it does not hold has none. Times are microseconds."""

    first: int
    start_U1: Longs
    time_E: Longs
    item_E: Ids
    query_E: Ids

    @classmethod
    def read(cls, files: Sequence[DataFile], users: NDArray[np.integer] | None = None) -> Histories:
        """Of these users, or of all. Row groups without one of them are not read."""
        wanted = None if users is None else np.unique(users).astype(np.int64)
        if wanted is not None and not len(wanted):
            return cls.of(*(np.empty(0, np.int64) for _ in COLUMNS))
        parts = [part for file in files for part in _read(file.path, wanted)]
        return cls.of(*(np.concatenate([part[i] for part in parts] or [np.empty(0, np.int64)]) for i in range(4)))

    @classmethod
    def of(cls, user_E: NDArray[Any], time_E: NDArray[Any], item_E: NDArray[Any], query_E: NDArray[Any]) -> Histories:
        """From events in any order."""
        columns = [user_E, time_E, item_E, query_E]
        if not _ascends(columns):
            # Nights are sorted each: a stable sort by user merges their runs. Late events need the whole order.
            order_E = np.argsort(user_E, kind="stable")
            columns = [column[order_E] for column in columns]
            if not _ascends(columns):
                order_E = np.lexsort(columns[::-1])
                columns = [column[order_E] for column in columns]
        user_E = columns[0]
        first = int(user_E[0]) if len(user_E) else 0
        users = int(user_E[-1]) - first + 1 if len(user_E) else 0
        start_U1 = np.searchsorted(user_E, np.arange(first, first + users + 1)).astype(np.int64)
        item_E, query_E = (column.astype(np.int32, copy=False) for column in columns[2:])
        return cls(first, start_U1, columns[1].astype(np.int64, copy=False), item_E, query_E)

    def spans(self, user_R: NDArray[np.integer], time_R: Longs, most: int | None = None) -> tuple[Longs, Longs]:
        """Where the history of each request lies: its user's events before its time, of these the newest ``most``."""
        known_R = (user_R >= self.first) & (user_R < self.first + len(self.start_U1) - 1)
        at_R = np.where(known_R, user_R - self.first, 0).astype(np.int64)
        start_R = np.where(known_R, self.start_U1[at_R], 0)
        low_R, high_R = start_R, np.where(known_R, self.start_U1[np.minimum(at_R + 1, len(self.start_U1) - 1)], 0)
        while (low_R < high_R).any():  # a binary search of all requests at once
            middle_R = (low_R + high_R) // 2
            before_R = (low_R < high_R) & (self.time_E[np.minimum(middle_R, len(self.time_E) - 1)] < time_R)
            low_R, high_R = np.where(before_R, middle_R + 1, low_R), np.where(before_R, high_R, middle_R)
        return (start_R if most is None else np.maximum(start_R, low_R - most)), low_R

    def pairs(self, user_R: NDArray[np.integer], time_R: Longs, most: int | None = None) -> tuple[Longs, Longs]:
        """(request, event) of all events of all histories, oldest first, [P] each."""
        first_R, last_R = self.spans(user_R, time_R, most)
        count_R = last_R - first_R
        row_P = np.repeat(np.arange(len(count_R)), count_R)
        within_P = np.arange(len(row_P)) - np.repeat(np.cumsum(count_R) - count_R, count_R)
        return row_P, first_R[row_P] + within_P

    def distinct(
        self, user_R: NDArray[np.integer], time_R: Longs, most: int | None = None
    ) -> tuple[Longs, Longs, Longs]:
        """(request, event, number of newer ones) of the newest event with each item of each history, by request, oldest
        first, [P] each."""
        row_P, event_P = (part_P[::-1] for part_P in self.pairs(user_R, time_R, most))
        _, newest_P = np.unique(row_P << 32 | self.item_E[event_P], return_index=True)
        kept_P = np.sort(newest_P)[::-1]
        row_P, event_P = row_P[kept_P], event_P[kept_P]
        last_R = np.cumsum(np.bincount(row_P, minlength=len(user_R))) - 1
        return row_P, event_P, last_R[row_P] - np.arange(len(row_P))

    def items(
        self,
        user_R: NDArray[np.integer],
        time_R: Longs,
        num_items: int,
        most: int | None,
        half_life: float | None = None,
    ) -> sp.csr_matrix:
        """The matrix [R, I] float32 of what is in the histories, however often: 1; by a ``half_life`` half as much for
        each so many newer items."""
        row_P, event_P, newer_P = self.distinct(user_R, time_R, most)
        weight_P = np.exp2(-newer_P / (half_life or np.inf)).astype(np.float32)
        return sp.csr_matrix((weight_P, (row_P, self.item_E[event_P])), shape=(len(user_R), num_items))

    def days(self, user_R: NDArray[np.integer], time_R: Longs, num_items: int) -> sp.csr_matrix:
        """The matrix [R, I] float32 of the days since the newest event with each item of the histories."""
        row_P, event_P, _ = self.distinct(user_R, time_R)
        days_P = ((time_R[row_P] - self.time_E[event_P]) / DAY).astype(np.float32)
        return sp.csr_matrix((days_P, (row_P, self.item_E[event_P])), shape=(len(user_R), num_items))

    def newest(self, user_R: NDArray[np.integer], time_R: Longs, length: int, most: int | None = None) -> Longs:
        """The newest ``length`` distinct items of each history [R, L], the newest last, -1 padded at the left."""
        row_P, event_P, newer_P = self.distinct(user_R, time_R, most)
        kept_P = newer_P < length
        found_RL = np.full((len(user_R), length), -1, np.int64)
        found_RL[row_P[kept_P], length - 1 - newer_P[kept_P]] = self.item_E[event_P[kept_P]]
        return found_RL


def history_files(lake: Lake, version: int, ds: date) -> tuple[DataFile, ...]:
    """The files of ``histories`` at a version, of the nights up to ``ds``."""
    return tuple(file for file in lake.active_files("histories", version) if file.partition["ds"] <= ds.isoformat())


def microseconds(times: pa.ChunkedArray) -> Longs:
    """Timestamps as whole numbers."""
    return times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()


def _read(path: str, wanted: Longs | None) -> Iterator[tuple[NDArray[Any], ...]]:
    file = pq.ParquetFile(path)
    column = file.schema_arrow.names.index("user")
    for number in range(file.num_row_groups):
        known = file.metadata.row_group(number).column(column).statistics
        if wanted is not None and known is not None and known.has_min_max:
            low, high = np.searchsorted(wanted, (known.min, known.max + 1))
            if low == high:
                continue
        rows = file.read_row_group(number, columns=list(COLUMNS))
        found = (rows["user"].to_numpy(), microseconds(rows["time"]), *(rows[n].to_numpy() for n in COLUMNS[2:]))
        if wanted is not None:
            place = np.minimum(np.searchsorted(wanted, found[0]), len(wanted) - 1)
            mine = wanted[place] == found[0]
            found = tuple(each[mine] for each in found) if not mine.all() else found
        yield found


def _ascends(columns: Sequence[NDArray[Any]]) -> bool:
    """Whether rows are in the order of their columns. Later columns are looked at only where the first are equal."""
    first, *rest = columns
    if (first[:-1] > first[1:]).any():
        return False
    equal_T = np.flatnonzero(first[:-1] == first[1:])
    for column in rest:
        before_T, after_T = column[equal_T], column[equal_T + 1]
        if (before_T > after_T).any():
            return False
        equal_T = equal_T[before_T == after_T]
    return True
