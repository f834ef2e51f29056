"""Items that users had before their requests: whether a night leaves them out, and which they are.

Legend of shape suffixes: R requests, E pairs of a user and an item that he had, P asked pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.lake import DataFile
from roilake.pipelines.retrieval.histories import Histories, Ids, Longs

MOST_REPEATS = 0.01


@dataclass(frozen=True)
class SeenRule:
    """Whether seen items are left out (``drop``), and how many of the positives of a night's past windows are items
    that their users had before, in the newest ``history.max_events`` events (``repeats`` of ``rois``)."""

    drop: bool
    repeats: int
    positives: int

    @classmethod
    def of(cls, seen: Literal["auto", "keep", "drop"], rois: Sequence[DataFile]) -> SeenRule:
        """By ``evaluation.seen`` and the files of a night's ``rois``: ``auto`` drops where repeats are under 1 %. Every
        step that asks reads the same rows, so all of a night go by one rule."""
        counts = [_repeats(file.path) for file in rois if file.partition["side"] == "request" and file.rows]
        repeats, positives = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        rare = repeats < MOST_REPEATS * positives
        return cls(rare if seen == "auto" else seen == "drop", repeats, positives)

    @property
    def details(self) -> dict[str, object]:
        """What a step tells of it in ``runs``: details ``seen``."""
        share = self.repeats / self.positives if self.positives else None
        rule = "drop" if self.drop else "keep"
        return {"rule": rule, "repeats": self.repeats, "positives": self.positives, "share": share}


def _repeats(path: str) -> tuple[int, int]:
    """Repeats and positives of a file; requests to serve have neither."""
    rows = pq.read_table(path, columns=["repeats", "positives"], partitioning=None)
    return pc.sum(rows["repeats"]).as_py() or 0, pc.sum(pc.list_value_length(rows["positives"])).as_py() or 0


@dataclass(frozen=True)
class Had:
    """The items that users had and since when (microseconds), each pair once: ``key_E`` is user << 32 | item,
    ascending."""

    key_E: Longs
    since_E: Longs

    @classmethod
    def of(cls, histories: Histories) -> Had:
        """All of them, however long ago: ``history.max_events`` does not count here."""
        count_U = np.diff(histories.start_U1)
        user_E = np.repeat(np.arange(histories.first, histories.first + len(count_U)), count_U)
        # A user's events are in time order, so that the first of a pair is its earliest.
        key_E, first_E = np.unique(user_E << 32 | histories.item_E, return_index=True)
        return cls(key_E.astype(np.int64), histories.time_E[first_E])

    def before(self, user_R: NDArray[np.integer], time_R: Longs) -> Seen:
        """What these users had before these times."""
        return Seen(self, user_R.astype(np.int64), time_R)


@dataclass(frozen=True)
class Seen:
    """Of each request the items that its user had before its time; found when they are asked for, some requests at a
    time, for together they can be many."""

    had: Had
    user_R: Longs
    time_R: Longs

    def hidden(self, rows: slice) -> tuple[Longs, Ids]:
        """Of some requests: those of the r-th are ``item_E[first_R1[r] : first_R1[r + 1]]``, ascending."""
        user_R, key_E, since_E = self.user_R[rows], self.had.key_E, self.had.since_E
        spans = zip(
            *(np.searchsorted(key_E, user << 32) for user in (user_R, user_R + 1)), self.time_R[rows], strict=True
        )
        # By request: all pairs of a tile's requests at once would take several times as much memory.
        parts = [key_E[low:high][since_E[low:high] < time].astype(np.int32) for low, high, time in spans]
        first_R1 = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return first_R1, np.concatenate([np.empty(0, np.int32), *parts])

    def holds(self, row_P: Longs, item_P: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of these pairs of a request and an item are among them."""
        if not len(self.had.key_E):
            return np.zeros(len(row_P), np.bool_)
        key_P = self.user_R[row_P] << 32 | item_P
        place_P = np.minimum(np.searchsorted(self.had.key_E, key_P), len(self.had.key_E) - 1)
        return (self.had.key_E[place_P] == key_P) & (self.had.since_E[place_P] < self.time_R[row_P])

    def of(self, rows_B: Longs) -> Seen:
        """Those of these requests only."""
        return Seen(self.had, self.user_R[rows_B], self.time_R[rows_B])

    @classmethod
    def nothing(cls, requests: int) -> Seen:
        """No item of any request."""
        none = np.empty(0, np.int64)
        return cls(Had(none, none), np.zeros(requests, np.int64), np.zeros(requests, np.int64))
