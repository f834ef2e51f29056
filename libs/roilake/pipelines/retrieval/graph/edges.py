"""Similar pairs -> rows of ``edges`` and ``adjacency`` as of each instant, by plain numpy on one task's share.

A share holds all pairs of its (edge type, source), so lists are cut where they are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.pipelines.retrieval.config import EDGE_TYPES
from roilake.pipelines.retrieval.graph.plan import micros


@dataclass(frozen=True)
class SimilarityRules:
    """How many similar and how many neighbours at all a node keeps; ``with_edges``: whether ``edges`` has rows."""

    ds: date
    instants: tuple[date, ...]
    top_similar: int
    max_neighbours: int
    with_edges: bool

    def tables(self, contributions: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """For every instant the strongest pairs of each source, ties to the smaller target, among those whose nodes had
        both been seen before it. Weights do not decay."""
        strength = -contributions["weight"].to_numpy()
        keys = (
            contributions["dst"].to_numpy(),
            strength,
            contributions["src"].to_numpy(),
            contributions["edge_type"].to_numpy(),
        )
        ordered = contributions.take(pa.array(np.lexsort(keys)))
        time = ordered["time"].cast(pa.timestamp("us", "UTC"))
        for instant, at in zip(self.instants, micros(self.instants), strict=True):
            seen = ordered.filter(pa.array(time.cast(pa.int64()).to_numpy() < at))
            kept = seen.filter(pa.array(_ranks(seen) < self.top_similar))
            if not len(kept):
                continue
            if self.with_edges:
                yield "edges", self._edges(instant, kept)
            yield "adjacency", self._lists(instant, kept)

    def _edges(self, instant: date, kept: pa.Table) -> pa.Table:
        time = kept["time"].cast(pa.timestamp("us", "UTC"))
        columns = {name: kept[name] for name in ("src", "dst", "weight")}
        return self._labelled(instant, kept["edge_type"], columns | {"first_time": time, "last_time": time})

    def _lists(self, instant: date, kept: pa.Table) -> pa.Table:
        rank = _ranks(kept)
        cut = kept.filter(pa.array(rank < self.max_neighbours)).combine_chunks()
        starts = np.flatnonzero(rank[rank < self.max_neighbours] == 0)
        ends = pa.array(np.append(starts, len(cut)), pa.int32())
        lists = {
            name: pa.ListArray.from_arrays(ends, cut[values].combine_chunks())
            for name, values in (("neighbours", "dst"), ("weights", "weight"))
        }
        first = cut.take(pa.array(starts))
        return self._labelled(instant, first["edge_type"], {"src": first["src"]} | lists)

    def _labelled(self, instant: date, codes: pa.ChunkedArray, columns: dict[str, pa.Array]) -> pa.Table:
        labels = {"ds": pa.scalar(self.ds), "as_of": pa.scalar(instant)}
        repeated = {name: pa.repeat(value, len(codes)) for name, value in labels.items()}
        return pa.table(repeated | {"edge_type": pa.array(EDGE_TYPES).take(codes.combine_chunks())} | columns)


def _ranks(rows: pa.Table) -> NDArray[np.int64]:
    """Place of each row, from 0, in its run of equal edge type and source."""
    starts = np.zeros(len(rows), bool)
    starts[:1] = True
    for name in ("edge_type", "src"):
        column = rows[name].to_numpy()
        starts[1:] |= column[1:] != column[:-1]
    return np.arange(len(rows)) - np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
