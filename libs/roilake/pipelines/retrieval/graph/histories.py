"""The night's own events -> rows of ``histories``: each user's in order of (time, item, query), whole users a task.

The tasks that read events spill them by user, and how many each user has. Ranges of users with about as many events
each are cut by those counts, and a task writes the file of a range. A user is in one range only: one with more events
than a range should hold makes a larger task, of some 40 bytes an event."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.lake import write_aside
from roilake.pipelines.retrieval.graph import kernel
from roilake.pipelines.retrieval.graph.plan import Plan

_ROW_GROUP = 1 << 17
"""Rows of a row group: the least that a reader of one user reads."""
_COLUMNS = ("user", "time", "item", "query")
_USERS, _EVENTS = "users", "events"


def spill_events(plan: Plan, name: str, held: Sequence[Mapping[str, NDArray]]) -> None:
    """Spill events by user (see ``kernel.sort_events``), and beside them [2, U]: the users that have any, and where the
    events of each end."""
    user, time, item, query = (np.concatenate([some[column] for some in held]) for column in _COLUMNS)
    if not len(user):
        return
    first = int(user.min())
    events, starts = kernel.sort_events(user, time, item, query, first, int(user.max()) - first + 1)
    users = np.flatnonzero(np.diff(starts))
    for kind, array in ((_EVENTS, events), (_USERS, np.stack([users + first, starts[users + 1]]))):
        write_aside(_folder(plan, kind) / f"{name}.npy", partial(_save, array))


def cut_users(plan: Plan, most: int) -> list[tuple[int, int]]:
    """Ranges (first, end) of all users with spilled events, which hold about ``most`` of these each: at most that, and
    those of one user."""
    events_U = np.zeros(plan.nodes["user"] + 1, np.int64)
    for file in _spilled(plan):
        users, ends = np.load(file)
        events_U[users + 1] += np.diff(ends, prepend=0)
    total_U = np.cumsum(events_U)  # of the users before each
    number = -(-int(total_U[-1]) // most)
    wanted = np.arange(number + 1) * total_U[-1] // max(number, 1)
    return [(int(first), int(end)) for first, end in pairwise(np.unique(np.searchsorted(total_U, wanted)))]


def user_rows(plan: Plan, first: int, end: int) -> Iterator[tuple[str, pa.Table]]:
    """Rows of the users ``first <= user < end``, a row group at a time."""
    parts = [_read(plan, file.name, first, end) for file in _spilled(plan)]
    user, time, item, query = (np.concatenate(some) for some in zip(*parts, strict=True))
    events, starts = kernel.sort_events(user, time, item, query, first, end - first)
    user_N = np.repeat(np.arange(first, end, dtype=np.int32), np.diff(starts))
    for start in range(0, len(events), _ROW_GROUP):
        group = slice(start, start + _ROW_GROUP)
        yield "histories", _rows(plan, user_N[group], events[group])


def drop_spilled(plan: Plan) -> None:
    """Delete the events that were spilled by user."""
    shutil.rmtree(plan.folder / "histories", ignore_errors=True)


def _read(plan: Plan, name: str, first: int, end: int) -> tuple[NDArray, ...]:
    """The columns of some users' events in one spilled file, of which no more than that is read."""
    users, ends = np.load(_folder(plan, _USERS) / name, mmap_mode="r")
    low, high = np.searchsorted(users, (first, end))
    start = int(ends[low - 1]) if low else 0
    lengths = np.diff(ends[low:high], prepend=start)
    events = np.load(_folder(plan, _EVENTS) / name, mmap_mode="r")[start : start + int(lengths.sum())]
    user_N = np.repeat(users[low:high].astype(np.int32), lengths)
    return user_N, *(np.ascontiguousarray(events[column]) for column in _COLUMNS[1:])


def _rows(plan: Plan, user_N: kernel.Ids, events: NDArray[np.void]) -> pa.Table:
    time, item, query = (pa.array(np.ascontiguousarray(events[column])) for column in _COLUMNS[1:])
    columns = (pa.repeat(pa.scalar(plan.ds), len(events)), pa.array(user_N), time.cast(pa.timestamp("us", "UTC")))
    return pa.table([*columns, item, query], names=["ds", *_COLUMNS])


def _spilled(plan: Plan) -> list[Path]:
    return sorted(_folder(plan, _USERS).glob("*.npy"))


def _folder(plan: Plan, kind: str) -> Path:
    return plan.folder / "histories" / kind


def _save(array: NDArray, path: Path) -> None:
    with path.open("wb") as out:
        np.save(out, array)
