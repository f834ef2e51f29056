"""What positives are held against: items drawn by keyed hash for each request, without its positives and seen items.

Legend: R requests, A those of them whose query has items, N negatives per request, D draws, I items, Q queries, E
pairs of a query and an item linked to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.lake import DataFile
from roilake.metrics.ranking import draw, draw_negatives
from roilake.pipelines.retrieval.feed.rows import RequestRows
from roilake.pipelines.retrieval.roi.store import LINKS, read_lists
from roilake.pipelines.retrieval.seen import Seen

Longs = NDArray[np.int64]


def drawn(
    rows: RequestRows, linked: Linked, weights: dict[str, NDArray[np.float64]], seen: Seen, count: int, seed: int
) -> dict[str, Longs]:
    """By kind ``count`` items [R, N] for each request, with replacement, -1 where none is found: by the ``weights`` of
    all items, and equally out of those that are linked to the request's query."""
    root_R, positives_RP = rows.root_R[: len(rows)], rows.positives_RP[: len(rows)]
    found = {
        kind: draw_negatives(_seed(seed, number), root_R, positives_RP, weight_I, count, seen.holds)
        for number, (kind, weight_I) in enumerate(weights.items())
    }
    return found | {"in_query": _in_query(rows, linked, seen, count, _seed(seed, len(weights)))}


def _in_query(rows: RequestRows, linked: Linked, seen: Seen, count: int, seed: int) -> Longs:
    first_R, last_R = linked.spans(rows.query_R[: len(rows)])
    asked = np.flatnonzero(first_R < last_R)  # in vain for the others
    first_A, count_A = first_R[asked], (last_R - first_R)[asked]

    def pick(row_D: Longs, chance_D: NDArray[np.float64]) -> Longs:
        place_D = np.minimum((chance_D * count_A[row_D]).astype(np.int64), count_A[row_D] - 1)
        return linked.item_E[first_A[row_D] + place_D].astype(np.int64)

    drawn_RN = np.full((len(rows), count), -1, np.int64)
    drawn_RN[asked] = draw(seed, rows.root_R[asked], rows.positives_RP[asked], count, pick, seen.of(asked).holds)
    return drawn_RN


def _seed(seed: int, number: int) -> int:
    return int(keyed_hash(seed, number).view(np.int64))


@dataclass(frozen=True)
class Linked:
    """Items by the queries that they are linked to: sorted by (query, item)."""

    query_E: NDArray[np.int32]
    item_E: NDArray[np.int32]

    @classmethod
    def read(cls, adjacency: Sequence[DataFile], query_R: NDArray[np.int32]) -> Linked:
        """Of these queries, from the lists ``LINKS`` in files of ``adjacency`` of one window."""
        query_Q = np.unique(query_R[query_R >= 0])
        parts = [_links(file.path, query_Q) for file in adjacency]
        query_E, item_E = (np.concatenate([np.empty(0, np.int32), *(part[k] for part in parts)]) for k in range(2))
        order_E = np.lexsort((item_E, query_E))
        return cls(query_E[order_E], item_E[order_E])

    def spans(self, query_R: NDArray[np.int32]) -> tuple[Longs, Longs]:
        """Where the items of each request's query lie; an empty span without a query."""
        first_R, last_R = (np.searchsorted(self.query_E, query_R, side) for side in ("left", "right"))
        return first_R, last_R


def _links(path: str, query_Q: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Query and item of each link of these queries."""
    rows = read_lists([path], LINKS)
    query_E = pc.list_flatten(rows["neighbours"]).to_numpy()
    item_E = np.repeat(rows["src"].to_numpy(), pc.list_value_length(rows["neighbours"]).to_numpy())
    mine_E = np.isin(query_E, query_Q)
    return query_E[mine_E], item_E[mine_E]
