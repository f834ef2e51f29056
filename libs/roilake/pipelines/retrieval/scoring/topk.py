"""Exact top-K and exact ranks over all items, tile by tile: no user-item matrix is ever held.

Legend: B requests, I items, D dimension, K shown items, P positives (flat over requests), R x J a tile.
Items are their row numbers. Where some of these are no items of the night (``absent``), they score -inf: nobody is
shown one, and none counts in a rank. The order is total: higher score first, ties by lower item. So the rank of an
item is its position in the list that ``top_k`` gives. NaN or infinite vectors or scores raise MetricError.

Tiles of rows are spread over torch's threads, one thread each: a tile is multiplied and read while it is in cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.errors import MetricError
from roilake.metrics.ranking import NEVER
from roilake.pipelines.retrieval.models import Fitted
from roilake.pipelines.retrieval.seen import Seen
from roilake.topk import Best, Hidden, count_before, decode

Tile = tuple[int, int]
WIDE: Tile = (128, 1 << 16)
NONE = np.empty(0, np.int64)


class Scorer(Protocol):
    """Scores any item for each of some requests. ``tile``: rows and items that it does best at a time. ``absent``: row
    numbers that are no items, ascending."""

    @property
    def tile(self) -> Tile: ...

    @property
    def absent(self) -> NDArray[np.int64]: ...

    @property
    def num_requests(self) -> int: ...

    @property
    def num_items(self) -> int: ...

    def block(self, rows: slice, items: slice, room: Tensor) -> Tensor:
        """Scores [R, J] float32, that may be written over; they may lie in ``room``, a flat tensor of R J places or
        more: fresh memory for each tile would cost as much as the product."""

    def pairs(self, row_P: Tensor, item_P: Tensor) -> Tensor:
        """Scores [P] of single pairs; equal vectors give equal scores."""


@dataclass(frozen=True)
class Product:
    """score(r, i) = <request_r, item_i>. Shapes [B, D], [I, D] float32. MetricError for a vector that is no number."""

    requests_BD: Tensor
    items_ID: Tensor
    absent: NDArray[np.int64] = field(default_factory=lambda: NONE)
    tile: ClassVar[Tile] = (256, 4096)

    def __post_init__(self) -> None:
        for name, vectors in (("request", self.requests_BD), ("item", self.items_ID)):
            finite = torch.isfinite(vectors).all(1)
            if not finite.all():
                row = int((~finite).nonzero()[0])
                raise MetricError(f"{name} vector {row} is NaN or infinite: the model diverged")

    @property
    def num_requests(self) -> int:
        return len(self.requests_BD)

    @property
    def num_items(self) -> int:
        return len(self.items_ID)

    def block(self, rows: slice, items: slice, room: Tensor) -> Tensor:
        left_RD, right_JD = self.requests_BD[rows], self.items_ID[items]
        out_RJ = room[: len(left_RD) * len(right_JD)].view(len(left_RD), len(right_JD))
        return torch.mm(left_RD, right_JD.T, out=out_RJ)

    def pairs(self, row_P: Tensor, item_P: Tensor) -> Tensor:
        parts = zip(row_P.split(1 << 16), item_P.split(1 << 16), strict=True)
        return torch.cat([(self.requests_BD[row] * self.items_ID[item]).sum(1) for row, item in parts])


@dataclass(frozen=True)
class FromHistory:
    """A fitted model of the user-item matrix, asked with what the user of each request had before: [B, I]."""

    fitted: Fitted
    history_BI: sp.csr_matrix
    absent: NDArray[np.int64] = field(default_factory=lambda: NONE)
    tile: ClassVar[Tile] = WIDE

    @property
    def num_requests(self) -> int:
        return self.history_BI.shape[0]

    @property
    def num_items(self) -> int:
        return self.fitted.num_items

    def block(self, rows: slice, items: slice, room: Tensor) -> Tensor:
        return self.fitted.scores(self.history_BI[rows], items.start, items.stop)

    def pairs(self, row_P: Tensor, item_P: Tensor) -> Tensor:
        found_P = torch.empty(len(row_P))

        def work(rows: slice) -> None:
            for items, scores_RJ in _tiles(self, rows, self.tile[1]):
                here = (row_P >= rows.start) & (row_P < rows.stop)
                here &= (item_P >= items.start) & (item_P < items.stop)
                found_P[here] = scores_RJ[row_P[here] - rows.start, item_P[here] - items.start]

        _for_rows(work, self.num_requests, self.tile[0])
        return found_P


def top_k(scorer: Scorer, k: int, *, seen: Seen | None = None, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """Scores [B, K] float32 and items [B, K] of the k best items of each request, without ``seen`` ones. Where fewer
    than k are left, the rest of the row has score -inf and item -1. MetricError when k exceeds the number of items."""
    if not 1 <= k <= scorer.num_items:
        raise MetricError(f"k = {k} must lie in 1..{scorer.num_items}, the number of items")
    seen, (high, wide) = seen or Seen.nothing(scorer.num_requests), tile or scorer.tile
    score_BK = np.empty((scorer.num_requests, k), np.float32)
    item_BK = np.empty((scorer.num_requests, k), np.int64)

    def work(rows: slice) -> None:
        best = Best(Hidden(*seen.hidden(rows)), k)
        for items, scores_RJ in _tiles(scorer, rows, wide):
            best.add(scores_RJ, items.start)
        score_BK[rows], item_BK[rows] = decode(np.sort(best.keys(), axis=1)[:, ::-1])

    _for_rows(work, scorer.num_requests, high)
    return torch.from_numpy(score_BK), torch.from_numpy(item_BK)


def ranks(scorer: Scorer, row_P: Tensor, item_P: Tensor, *, seen: Seen | None = None, tile: Tile = WIDE) -> Tensor:
    """Rank [P], from 1, of item ``item_P`` in the full order of request ``row_P``: one more than the number
    of items that stand before it. A seen item is never shown: rank NEVER. Products of more items than a tile is wide
    are made twice: for the items' own scores, and to count."""
    order_P = np.argsort(row_P.numpy(), kind="stable")
    rows_P, items_P = row_P.numpy()[order_P], item_P.numpy()[order_P]
    own_P, before_P = np.empty(len(rows_P), np.float32), np.zeros(len(rows_P), np.int64)
    seen, (high, wide) = seen or Seen.nothing(scorer.num_requests), tile

    def work(rows: slice) -> None:
        first_R1 = np.searchsorted(rows_P, np.arange(rows.start, rows.stop + 1))
        asked = slice(first_R1[0], first_R1[-1])
        again: list[tuple[slice, Tensor]] = []
        for items, scores_RJ in _tiles(scorer, rows, wide):
            here = np.flatnonzero((items_P[asked] >= items.start) & (items_P[asked] < items.stop)) + asked.start
            own_P[here] = scores_RJ[rows_P[here] - rows.start, items_P[here] - items.start]
            again = [(items, scores_RJ)]
        hidden, before = Hidden(*seen.hidden(rows)), before_P[asked]
        for items, scores_RJ in again if scorer.num_items <= wide else _tiles(scorer, rows, wide):
            count_before(scores_RJ, items.start, hidden, first_R1 - asked.start, items_P[asked], own_P[asked], before)

    _for_rows(work, scorer.num_requests, high)
    never_P = np.isneginf(own_P) | seen.holds(rows_P, items_P)
    rank_P = np.empty_like(before_P)
    rank_P[order_P] = np.where(never_P, NEVER, before_P + 1)
    return torch.from_numpy(rank_P)


def _tiles(scorer: Scorer, rows: slice, wide: int) -> Iterator[tuple[slice, Tensor]]:
    """The scores of all items for some rows; a tile is gone when the next one comes."""
    room = torch.empty((rows.stop - rows.start) * min(wide, scorer.num_items))
    for start in range(0, scorer.num_items, wide):
        items = slice(start, min(start + wide, scorer.num_items))
        scores_RJ = scorer.block(rows, items, room)
        if len(scorer.absent):
            first, last = np.searchsorted(scorer.absent, (items.start, items.stop))
            scores_RJ[:, torch.from_numpy(scorer.absent[first:last] - start)] = -torch.inf
        yield items, scores_RJ


def _for_rows(work: Callable[[slice], None], count: int, high: int) -> None:
    """Call ``work`` for all tiles of rows; on several threads, each of which multiplies alone."""
    tiles = [slice(start, min(start + high, count)) for start in range(0, count, high)]
    threads = min(torch.get_num_threads(), len(tiles))
    if threads <= 1:
        for rows in tiles:
            work(rows)
        return
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, tiles))
    finally:
        torch.set_num_threads(before)
