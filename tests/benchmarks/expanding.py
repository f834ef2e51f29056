"""A small real interaction matrix -> events of any number, by randomised fractal expansion.

After Belletti et al. 2019 (Scalable realistic recommendation datasets through fractal expansions): the expanded matrix
is the Kronecker product S x R of a reduced matrix S and the real one R, randomised. A user is a pair (block row A, real
user u), an item a pair (block column B, real item i), and a real event (u, i) occurs in block (A, B) S_AB times on
average. So degree(A, u) = s_A d_u with s_A the row sum of S, and likewise for items: products of two quantities that
each follow the real distribution, which keeps its shape. Theirs drops entries at random and shuffles rows and columns
of each block; ours draws how often and in which blocks an event recurs by a keyed hash, and shuffles nothing, for sums
over shuffled blocks tend to the mean. S is R with rows and columns in order of degree, seen on a coarser or finer grid:
S_AB is the share of all interactions in cell (A, B), from the cumulated matrix by bilinear interpolation.

Ours beside that: a query is (real query, B, one of ``VARIANTS`` by a log-uniform draw), so items of a block share
queries; times are the real ones plus up to ten minutes. Every value is a keyed hash of (seed, A, event, copy): the same
rows however they are cut into tasks.

Legend: N real events, K events of some block rows, U users, I items, B block columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Longs = NDArray[np.int64]

VARIANTS = 64
"""Wordings of a query in a block column."""
_GRID = 1024  # cells a side that the matrix is cumulated on
_JITTER = 600  # seconds
_ROW = 36**5  # more than the events of a block row
_DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
_SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class Base:
    """The real events, by (user, time); users and items numbered by degree, descending; query -1 for none."""

    user_N: Longs
    item_N: Longs
    query_N: Longs
    time_N: Longs
    value_N: NDArray[np.float64]
    kind_N: pa.DictionaryArray
    users: int
    items: int
    queries: int
    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    cumulated: NDArray[np.float64]
    """[X + 1, Y + 1] share of the events below a share of the users (``x_edges``) and of the items (``y_edges``)."""


@dataclass(frozen=True)
class Expansion:
    """``rows`` x ``columns`` blocks with ``edges`` events on average."""

    base: Base
    edges: int
    rows: int
    columns: int
    seed: int
    gap_minutes: int

    @classmethod
    def of(cls, base: Base, edges: int, seed: int, gap_minutes: int) -> Expansion:
        """Users have twice their real degree on average; items grow with the users' number to the power of 0.65."""
        rows = max(1, round(edges / len(base.user_N) / 2))
        return cls(base, edges, rows, max(1, round(rows**0.65)), seed, gap_minutes)

    def shares(self, row: int) -> NDArray[np.float64]:
        """[B] share of all events in each block of a row."""
        base = self.base
        lines = [_line(base, (row + end) / self.rows) for end in (0, 1)]
        columns = np.linspace(0, 1, self.columns + 1)
        below: NDArray[np.float64] = np.interp(columns, base.y_edges, lines[1] - lines[0])
        return np.maximum(np.diff(below), 0.0)

    def row_sizes(self) -> NDArray[np.float64]:
        """Events on average in each block row."""
        ends = np.linspace(0, 1, self.rows + 1)
        below: NDArray[np.float64] = np.interp(ends, self.base.x_edges, self.base.cumulated[:, -1])
        return np.asarray(np.diff(below) * self.edges, np.float64)


@dataclass(frozen=True)
class Expanded:
    """Events of some block rows by (row, user, session, time), in numbers that hold for all of the expansion."""

    id_K: Longs
    user_K: Longs
    item_K: Longs
    query_K: Longs
    time_K: Longs
    event_K: Longs
    """The real event that each one repeats."""
    starts_K: NDArray[np.bool_]
    """Where a session starts."""


def read_base(events: pa.Table) -> Base:
    """From rows of ``events``."""
    time = events["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    user, users = _by_degree(events["user"])
    item, items = _by_degree(events["item"])
    query, queries = _by_degree(events["query"])
    order = np.lexsort((item, time, user))
    kinds = events["event_type"].combine_chunks().dictionary_encode()
    x_edges, y_edges = _edges(users), _edges(items)
    # Half a node to the right, so that no event lies on an edge.
    counts, _, _ = np.histogram2d((user + 0.5) / users, (item + 0.5) / items, bins=[x_edges, y_edges])  # type: ignore[list-item]
    cumulated = np.zeros((len(x_edges), len(y_edges)))
    cumulated[1:, 1:] = counts.cumsum(axis=0).cumsum(axis=1) / len(user)
    return Base(
        user_N=user[order],
        item_N=item[order],
        query_N=query[order],
        time_N=time[order],
        value_N=events["value"].to_numpy()[order],
        kind_N=kinds.take(pa.array(order)),
        users=users,
        items=items,
        queries=queries,
        x_edges=x_edges,
        y_edges=y_edges,
        cumulated=cumulated,
    )


def expand_row(of: Expansion, row: int) -> Expanded:
    """All events of block row ``row``."""
    base, share = of.base, of.shares(row)
    events = np.arange(len(base.user_N))
    mean = share.sum() * of.edges / len(events)
    copies = np.floor(mean + _uniform(of.seed, row, 0, events)).astype(np.int64)
    event = np.repeat(events, copies)
    draw = event << 20 | np.arange(len(event)) - np.repeat(np.cumsum(copies) - copies, copies)
    bounds = np.cumsum(share) / max(share.sum(), 1e-300)
    column = np.minimum(np.searchsorted(bounds, _uniform(of.seed, row, 1, draw)), of.columns - 1)
    variant = np.exp(_uniform(of.seed, row, 2, draw) * np.log(VARIANTS + 1)).astype(np.int64) - 1
    query = (base.query_N[event] * of.columns + column) * VARIANTS + variant
    time = base.time_N[event] + (_uniform(of.seed, row, 3, draw) * _JITTER).astype(np.int64) * _SECOND
    order = np.lexsort((draw, time, base.user_N[event]))
    user = base.user_N[event][order]
    gaps = np.diff(time[order], prepend=0) > of.gap_minutes * 60 * _SECOND
    return Expanded(
        id_K=row * _ROW + np.arange(len(event)),
        user_K=user + row * base.users,
        item_K=(base.item_N[event] * of.columns + column)[order],
        query_K=np.where(base.query_N[event] < 0, -1, query)[order],
        time_K=time[order],
        event_K=event[order],
        starts_K=gaps | (np.diff(user, prepend=-1) != 0),
    )


def expand_rows(of: Expansion, rows: range) -> Expanded:
    """All events of some block rows."""
    parts = [vars(expand_row(of, row)) for row in rows]
    return Expanded(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def rows_of_events(of: Expansion, some: Expanded) -> pa.Table:
    """Rows of ``events`` (without ``ds``). Keys are numbers in base 36."""
    base = of.base
    starts = np.flatnonzero(some.starts_K)
    users = _dictionary("u", some.user_K, of.rows * base.users)
    seconds = _text(some.time_K[starts] // _SECOND, 36**6)
    sessions = pc.binary_join_element_wise(users.take(pa.array(starts)).cast(pa.string()), seconds, "@")
    codes = pa.array(np.cumsum(some.starts_K) - 1, pa.int32())
    return pa.table(
        {
            "event_id": _text(some.id_K, of.rows * _ROW),
            "time": pa.array(some.time_K).cast(pa.timestamp("us", "UTC")),
            "user": users,
            "query": _dictionary("q", some.query_K, base.queries * of.columns * VARIANTS),
            "item": _dictionary("i", some.item_K, base.items * of.columns),
            "event_type": base.kind_N.take(pa.array(some.event_K)),
            "value": pa.array(base.value_N[some.event_K]),
            "session": pa.DictionaryArray.from_arrays(codes, sessions),
        }
    )


def degree_shape(degrees: Longs) -> dict[str, float]:
    """What a degree distribution looks like whatever its scale: quantiles over the mean, the Gini coefficient, and the
    slope of log degree over log rank from the top 1 % to the top 20 % of nodes with any event."""
    sorted_ = np.sort(degrees[degrees > 0])[::-1].astype(np.float64)
    count, mean = len(sorted_), sorted_.mean()
    quantiles = {f"q{q:g}": sorted_[int((1 - q) * (count - 1))] / mean for q in (0.5, 0.9, 0.99, 0.999)}
    rank = np.arange(max(count // 100, 1), max(count // 5, 3)) + 1.0
    slope = np.polyfit(np.log(rank), np.log(sorted_[rank.astype(int) - 1]), 1)[0]
    gini = (count + 1 - 2 * np.cumsum(sorted_[::-1]).sum() / sorted_.sum()) / count
    return {"nodes": count, "mean": mean, **quantiles, "gini": gini, "rank_slope": slope}


def _by_degree(keys: pa.ChunkedArray) -> tuple[Longs, int]:
    """Each row's key as its place by number of rows, descending (ties by key); -1 for null. And how many there are."""
    coded = keys.combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy().astype(np.int64)
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    if not len(names):
        return codes, 0
    order = np.lexsort((names.astype(str), -np.bincount(codes[codes >= 0], minlength=len(names))))
    place = np.empty(len(names) + 1, np.int64)
    place[order], place[-1] = np.arange(len(names)), -1
    return place[codes], len(names)


def _edges(nodes: int) -> NDArray[np.float64]:
    """Shares of the nodes, whole nodes apart."""
    cells = min(nodes, _GRID)
    return np.arange(cells + 1) * nodes // cells / nodes


def _line(base: Base, x: float) -> NDArray[np.float64]:
    """The cumulated matrix at a share of the users."""
    low = min(int(np.searchsorted(base.x_edges, x, side="right")) - 1, len(base.x_edges) - 2)
    part = (x - base.x_edges[low]) / (base.x_edges[low + 1] - base.x_edges[low])
    return base.cumulated[low] * (1 - part) + base.cumulated[low + 1] * part


def _uniform(seed: int, row: int, use: int, draw: Longs) -> NDArray[np.float64]:
    """A keyed hash of each number (splitmix64) in [0, 1)."""
    key = _mix(_mix(np.array([seed], np.uint64) ^ np.uint64(use << 56)) ^ np.uint64(row))
    return (_mix(draw.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ key) >> np.uint64(11)) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _dictionary(letter: str, numbers: Longs, limit: int) -> pa.DictionaryArray:
    """Numbers as keys, each spelt out once; null for -1."""
    least = int(numbers.min()) if len(numbers) else 0
    found = np.zeros((int(numbers.max()) if len(numbers) else 0) - least + 1, bool)
    found[numbers - least] = True
    found[: max(-least, 0)] = False
    codes = (np.cumsum(found, dtype=np.int32) - 1)[numbers - least]
    keys = pc.binary_join_element_wise(letter, _text(np.flatnonzero(found) + least, limit), "")
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=numbers < 0), keys)


def _text(numbers: Longs, limit: int) -> pa.StringArray:
    """In base 36, as many digits as numbers below ``limit`` take."""
    width = 1
    while 36**width < limit:
        width += 1
    digits = np.empty((len(numbers), width), np.uint8)
    for place in range(width - 1, -1, -1):
        digits[:, place] = _DIGITS[numbers % 36]
        numbers = numbers // 36
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(digits))
