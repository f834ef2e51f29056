"""Exact top-K and exact ranks over all items by blocked matrix products: no user-item matrix is ever held.

Legend: B requests, I items, D dimension, K shown items, P positives (flat over requests), J items of a block.
Items are their row numbers. The order is total: higher score first, ties by lower item. So the rank of an
item is its place in the list that ``top_k`` gives. NaN or infinite vectors or scores raise MetricError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from roilake.errors import MetricError
from roilake.evaluation.ranking import NEVER

BLOCK = 1 << 16
CHUNK = 256


@dataclass(frozen=True)
class Seen:
    """Items that are not to be shown, as (request row, item) pairs sorted by item."""

    row: Tensor
    item: Tensor

    @classmethod
    def of(cls, row: Tensor, item: Tensor) -> Seen:
        """Pairs in any order."""
        order = torch.argsort(item, stable=True)
        return cls(row[order], item[order])

    def mask(self, scores_BJ: Tensor, start: int) -> None:
        """Set the scores of seen items of the block that begins at item ``start`` to minus infinity, in
        place."""
        first, last = torch.searchsorted(
            self.item, torch.tensor([start, start + scores_BJ.shape[1]])
        ).tolist()
        scores_BJ[self.row[first:last], self.item[first:last] - start] = -torch.inf


def top_k(
    requests_BD: Tensor, items_ID: Tensor, k: int, *, seen: Seen | None = None, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Scores [B, K] float32 and items [B, K] of the k best items of each request. Where fewer than k are left
    after masking, the rest of the row has score -inf and item -1. MetricError when k exceeds the number of
    items."""
    _check(requests_BD, items_ID)
    if not 1 <= k <= len(items_ID):
        raise MetricError(f"k = {k} must lie in 1..{len(items_ID)}, the number of items")
    best_BK = requests_BD.new_empty((len(requests_BD), 0))
    item_BK = torch.empty((len(requests_BD), 0), dtype=torch.int64)
    for start, scores_BJ in _blocks(requests_BD, items_ID, seen, block):
        scores, places = _best(scores_BJ, min(k, scores_BJ.shape[1]))
        # earlier blocks hold lower items and stand first, so a stable sort keeps ties in item order
        joined, items = torch.cat([best_BK, scores], 1), torch.cat([item_BK, places + start], 1)
        joined, order = torch.sort(joined, dim=1, descending=True, stable=True)
        best_BK, item_BK = joined[:, :k], items.gather(1, order)[:, :k]
    if torch.isnan(best_BK).any() or torch.isposinf(best_BK).any():
        raise MetricError("a score overflows float32: the model's vectors are too long")
    return best_BK, item_BK.masked_fill(torch.isneginf(best_BK), -1)


def _best(scores_BJ: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, ordered by (score desc, place asc); torch.topk alone leaves ties to chance."""
    scores_BK, place_BK = torch.topk(scores_BJ, k, dim=1, sorted=False)
    bound_B1 = scores_BK.amin(1, keepdim=True)
    crowded = torch.count_nonzero(scores_BJ >= bound_B1, dim=1) > k
    if crowded.any():  # several places share the last score: keep the lowest ones
        order = torch.sort(scores_BJ[crowded], dim=1, descending=True, stable=True).indices[:, :k]
        place_BK[crowded] = order
    place_BK = place_BK.sort(1).values
    scores_BK, order = torch.sort(scores_BJ.gather(1, place_BK), dim=1, descending=True, stable=True)
    return scores_BK, place_BK.gather(1, order)


def ranks(
    requests_BD: Tensor,
    items_ID: Tensor,
    row_P: Tensor,
    item_P: Tensor,
    *,
    seen: Seen | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Rank [P], from 1, of item ``item_P`` in the full order of request ``row_P``: one more than the number
    of items that stand before it. A seen item is never shown: rank NEVER."""
    _check(requests_BD, items_ID)
    own_P = torch.empty(len(row_P), dtype=requests_BD.dtype)
    for start, scores_BJ in _blocks(requests_BD, items_ID, seen, block):
        here = torch.nonzero((item_P >= start) & (item_P < start + scores_BJ.shape[1])).squeeze(1)
        own_P[here] = scores_BJ[row_P[here], item_P[here] - start]
    before_P = torch.zeros(len(row_P), dtype=torch.int64)
    for start, scores_BJ in _blocks(requests_BD, items_ID, seen, block):
        item_J = torch.arange(start, start + scores_BJ.shape[1])
        for first in range(0, len(row_P), CHUNK):
            part = slice(first, first + CHUNK)
            scores_CJ, own_C1 = scores_BJ[row_P[part]], own_P[part, None]
            ahead_CJ = (scores_CJ > own_C1) | ((scores_CJ == own_C1) & (item_J < item_P[part, None]))
            before_P[part] += torch.count_nonzero(ahead_CJ, dim=1)
    return torch.where(torch.isneginf(own_P), NEVER, before_P + 1)


def _blocks(
    requests_BD: Tensor, items_ID: Tensor, seen: Seen | None, block: int
) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(items_ID), block):
        scores_BJ = requests_BD @ items_ID[start : start + block].T
        if seen is not None:
            seen.mask(scores_BJ, start)
        yield start, scores_BJ


def _check(requests_BD: Tensor, items_ID: Tensor) -> None:
    for name, vectors in (("request", requests_BD), ("item", items_ID)):
        finite = torch.isfinite(vectors).all(1)
        if not finite.all():
            raise MetricError(
                f"{name} vector {int((~finite).nonzero()[0])} is NaN or infinite: the model diverged"
            )
