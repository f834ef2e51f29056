"""Events straight from their parquet files, with keys as dictionary codes: a key is looked up once a row group.

The JVM would hand every key of every event to Python as a string; the files hold each but once a row group."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.graph import kernel

KEYS = (*NODE_TYPES, "session")
_SEEN = ["key", "first_time", "events"]
_HELD_KEYS = 2_000_000  # rows that a task merges at once


@dataclass(frozen=True)
class Slice:
    """Row groups ``first <= g < end`` of a file. A build sums up the pairs of ``new`` events, which are in no snapshot;
    the night's ``own`` ones are its rows of ``histories``."""

    path: str
    first: int
    end: int
    new: bool = True
    own: bool = False


@dataclass(frozen=True)
class Coded:
    """A column of N keys: ``keys[codes_N[i]]``, code -1 where there is none."""

    keys: pa.StringArray
    codes_N: kernel.Ids


@dataclass(frozen=True)
class Events:
    """One row group. ``joined_N``: the row goes on with the session of the row before it. ``before`` is the item of
    the row before the first one, if that goes on with a session."""

    time_N: kernel.Longs
    columns: dict[str, Coded]
    joined_N: NDArray[np.bool_]
    before: str | None


def plan_slices(paths: Sequence[str], most: int, *, new: bool = True, own: Collection[str] = ()) -> list[list[Slice]]:
    """All row groups in order, cut into tasks of about ``most`` rows. ``own``: the paths of the night's own events."""
    tasks: list[list[Slice]] = [[]]
    held = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        start = 0
        for group in range(metadata.num_row_groups):
            held += metadata.row_group(group).num_rows
            if held >= most:
                tasks[-1].append(Slice(path, start, group + 1, new, path in own))
                tasks.append([])
                start, held = group + 1, 0
        if start < metadata.num_row_groups:
            tasks[-1].append(Slice(path, start, metadata.num_row_groups, new, path in own))
    return [task for task in tasks if task]


def read_events(part: Slice, keys: Sequence[str] = KEYS) -> Iterator[Events]:
    """The row groups of a slice, one by one. ``keys`` with ``session`` among them also tells who is ``joined``."""
    file = pq.ParquetFile(part.path, read_dictionary=list(keys))
    sessions = "session" in keys
    last = _last_session(file, part.first - 1) if sessions and part.first else None
    for group in range(part.first, part.end):
        rows = file.read_row_group(group, columns=["time", *keys], use_threads=False)
        if not len(rows):
            continue
        columns = {name: _coded(rows[name]) for name in keys}
        time = rows["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        joined, before = np.zeros(len(rows), bool), None
        if sessions:
            session, user = columns["session"], columns["user"]
            joined[1:] = _repeats(session.codes_N) & _repeats(user.codes_N) & (session.codes_N[1:] >= 0)
            first = _session(rows, 0)
            joined[0] = last is not None and first is not None and first[:2] == last[:2]
            before = last[2] if last is not None and joined[0] else None
            last = _session(rows, len(rows) - 1)
        yield Events(time, columns, joined, before)


def seen_keys(parts: Sequence[Slice]) -> Iterator[pa.Table]:
    """(node_type, key, first_time, events) of the keys of some slices."""
    held: dict[str, list[pa.Table]] = {kind: [] for kind in NODE_TYPES}
    for events in itertools.chain.from_iterable(read_events(part, NODE_TYPES) for part in parts):
        for kind in NODE_TYPES:
            column = events.columns[kind]
            first, count = kernel.first_times(column.codes_N, events.time_N, len(column.keys))
            held[kind].append(pa.table([column.keys, first, count], names=_SEEN).filter(pa.array(count > 0)))
            if sum(len(table) for table in held[kind][1:]) > _HELD_KEYS:
                held[kind] = [_merged(held[kind])]
    for kind, tables in held.items():
        for merged in [_merged(tables)] if tables else []:
            time = merged["first_time"].cast(pa.timestamp("us", "UTC"))
            yield merged.set_column(1, "first_time", time).add_column(0, "node_type", pa.repeat(kind, len(merged)))


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    """One row for each key: its earliest time and all its events."""
    sums = pa.concat_tables(tables).group_by("key").aggregate([("first_time", "min"), ("events", "sum")])
    return sums.select(["key", "first_time_min", "events_sum"]).rename_columns(_SEEN)


def _coded(column: pa.ChunkedArray) -> Coded:
    whole = column.unify_dictionaries().combine_chunks()
    codes = pc.fill_null(whole.indices, -1).to_numpy().astype(np.int32, copy=False)
    return Coded(whole.dictionary, codes)


def _repeats(codes_N: kernel.Ids) -> NDArray[np.bool_]:
    return codes_N[1:] == codes_N[:-1]


def _session(rows: pa.Table, at: int) -> tuple[str, str, str] | None:
    """User, session and item of a row, None when it has no session."""
    user, session, item = (rows[name][at].as_py() for name in ("user", "session", "item"))
    return None if session is None else (user, session, item)


def _last_session(file: pq.ParquetFile, group: int) -> tuple[str, str, str] | None:
    rows = file.read_row_group(group, columns=["user", "session", "item"], use_threads=False)
    return _session(rows, len(rows) - 1) if len(rows) else None
