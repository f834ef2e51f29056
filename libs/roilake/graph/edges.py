"""Moments -> decayed edges and capped adjacency as of each instant, by plain numpy on one task's share.

A share holds all moments of its (edge type, source) pairs, so lists are cut where they are made. Sums are
over whole units of 2^-30: exact, so that neither the order of rows nor the number of shares shows in the
result.

Legend: M moments, P parts (moments of a pair between two instants, summed up), E pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.graph.moments import EDGE_TYPES

Ints = NDArray[np.int64]

_UNIT = 2**30
_DAY = 86_400_000_000  # microseconds
_IS_SIMILARITY = np.array([name.endswith("_similar") for name in EDGE_TYPES])


@dataclass(frozen=True)
class EdgeRules:
    """What edges are made by: instants in order, half-life in days, similar and all neighbours kept per
    node."""

    ds: date
    instants: tuple[date, ...]
    half_life_days: float
    top_similar: int
    max_neighbours: int

    def tables(self, moments: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Rows of ``edges`` and of ``adjacency`` for every instant, from the moments of some sources.

        weight(as_of) = sum over moments before as_of of 2^(-(as_of - time) / half_life); similarity edges
        keep their weight, and only the ``top_similar`` strongest per source (ties to the smaller target).
        """
        parts = summed_parts(moments, self.instants, self.half_life_days)
        if parts is None:
            return
        for index, instant in enumerate(self.instants):
            edges = edges_as_of(parts, index, self.instants, self.half_life_days)
            edges, strongest = _ranked(edges, self.top_similar)
            if len(edges):
                yield "edges", _dated(self.ds, instant, edges)
                yield "adjacency", _dated(self.ds, instant, _lists(strongest, self.max_neighbours))


@dataclass(frozen=True)
class Parts:
    """Sorted by (edge type, source, target, instant). ``bucket`` is the first instant after the moments."""

    edge_type_P: Ints
    src_P: Ints
    dst_P: Ints
    bucket_P: Ints
    units_P: Ints
    first_P: Ints
    last_P: Ints
    starts_E: Ints


def summed_parts(moments: pa.Table, instants: Sequence[date], half_life_days: float) -> Parts | None:
    """Moments of a pair between two instants become one part, worth what they are at the second of the two.
    None when no moment lies before the last instant."""
    at = _micros(instants)
    time_M = moments["time"].cast(pa.int64()).to_numpy()
    bucket_M = np.searchsorted(at, time_M, side="right")
    kept = np.flatnonzero(bucket_M < len(at))
    if not len(kept):
        return None
    kind, src, dst = (moments[name].to_numpy()[kept].astype(np.int64) for name in ("edge_type", "src", "dst"))
    time, bucket = time_M[kept], bucket_M[kept]
    given = moments["weight"].to_numpy()[kept]
    decayed = np.exp2(-(at[bucket] - time) / (half_life_days * _DAY))
    units = np.rint(np.where(_IS_SIMILARITY[kind], given, decayed) * _UNIT).astype(np.int64)
    order = np.lexsort((time, dst, src, kind))
    kind, src, dst, time, bucket, units = (a[order] for a in (kind, src, dst, time, bucket, units))
    new_pair = _changes(kind, src, dst)
    starts = np.flatnonzero(new_pair | _changes(bucket))
    ends = np.append(starts[1:], len(time)) - 1
    return Parts(
        edge_type_P=kind[starts],
        src_P=src[starts],
        dst_P=dst[starts],
        bucket_P=bucket[starts],
        units_P=np.add.reduceat(units, starts),
        first_P=time[starts],
        last_P=time[ends],
        starts_E=np.searchsorted(starts, np.flatnonzero(new_pair)),
    )


def edges_as_of(parts: Parts, index: int, instants: Sequence[date], half_life_days: float) -> pa.Table:
    """(edge_type code, src, dst, weight, first_time, last_time) from the parts up to instant number
    ``index``, each with what has decayed since its own: 2^-a 2^-b = 2^-(a + b)."""
    at = _micros(instants)
    decay = np.exp2(-(at[index] - at) / (half_life_days * _DAY))[parts.bucket_P]
    decay[_IS_SIMILARITY[parts.edge_type_P]] = 1.0
    live_P = parts.bucket_P <= index
    units_P = np.where(live_P, np.rint(parts.units_P * decay), 0).astype(np.int64)
    last_P = np.where(live_P, parts.last_P, np.iinfo(np.int64).min)
    starts = parts.starts_E
    seen = np.flatnonzero(live_P[starts])
    first = starts[seen]
    return pa.table(
        {
            "edge_type": parts.edge_type_P[first],
            "src": parts.src_P[first],
            "dst": parts.dst_P[first],
            "weight": (np.add.reduceat(units_P, starts)[seen] / _UNIT).astype(np.float32),
            "first_time": parts.first_P[first],
            "last_time": np.maximum.reduceat(last_P, starts)[seen],
        }
    )


def _ranked(edges: pa.Table, top_similar: int) -> tuple[pa.Table, pa.Table]:
    """The edges without similarity edges beyond the top ones; and the same by strength, with ``rank`` from
    0."""
    kind, src, weight = (edges[name].to_numpy() for name in ("edge_type", "src", "weight"))
    starts_source = _changes(kind, src)
    source = np.cumsum(starts_source) - 1
    # Non-negative floats sort like their bits. Edges come by target, and the sort is stable: ties go to the smaller.
    strength = weight.view(np.uint32).astype(np.int64)
    order = np.argsort((source << 32) - strength, kind="stable")
    rank = np.arange(len(order)) - np.flatnonzero(starts_source)[source[order]]
    kept = (rank < top_similar) | ~_IS_SIMILARITY[kind[order]]
    strongest = edges.take(pa.array(order[kept])).append_column("rank", pa.array(rank[kept]))
    return edges.take(pa.array(np.sort(order[kept]))), strongest


def _lists(strongest: pa.Table, max_neighbours: int) -> pa.Table:
    """(edge_type code, src, neighbours, weights), cut to ``max_neighbours``."""
    cut = strongest.filter(pa.array(strongest["rank"].to_numpy() < max_neighbours)).combine_chunks()
    starts = np.flatnonzero(_changes(cut["edge_type"].to_numpy(), cut["src"].to_numpy()))
    ends = pa.array(np.append(starts, len(cut)), pa.int32())
    columns: dict[str, Any] = {name: cut[name].take(pa.array(starts)) for name in ("edge_type", "src")}
    for name, values, kind in (("neighbours", "dst", pa.int32()), ("weights", "weight", pa.float32())):
        columns[name] = pa.ListArray.from_arrays(ends, cut[values].cast(kind).combine_chunks())
    return pa.table(columns)


def _dated(ds: date, as_of: date, rows: pa.Table) -> pa.Table:
    """With ``ds``, ``as_of`` and the name of the edge type."""
    names = pa.array(EDGE_TYPES).take(rows["edge_type"].combine_chunks())
    rows = rows.set_column(0, "edge_type", names)
    for name in {"first_time", "last_time"} & set(rows.column_names):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, rows[name].cast(pa.timestamp("us", tz="UTC")))
    for name, day in (("ds", ds), ("as_of", as_of)):
        rows = rows.append_column(name, pa.array(np.full(len(rows), np.datetime64(day)), pa.date32()))
    return rows


def _changes(*columns: Ints) -> NDArray[np.bool_]:
    """True where a sorted run of equal rows starts."""
    starts = np.zeros(len(columns[0]), bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return starts


def _micros(instants: Sequence[date]) -> Ints:
    return np.array(instants, "datetime64[us]").astype(np.int64)
