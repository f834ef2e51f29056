"""A batch of ROIs as trees: slots of neighbours below the roots, folded from the leaves up.

Legend: B rows, P positions of a parent slot (1 for a root), k fan-out, D dimension, S slots' entries of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from roilake.pipelines.retrieval.roi.layout import RoiLayout, Slot


@dataclass(frozen=True)
class Nodes:
    """Vectors of the nodes of one type that a batch touches, and where each id's row is."""

    table_ND: Tensor
    ids: Tensor | None  # ascending ids of the rows; None when row = id

    def rows(self, ids: Tensor) -> Tensor:
        """Row numbers of ids; a padded -1 gives a valid row that the caller masks."""
        ids = ids.clamp(min=0)
        return ids if self.ids is None else torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)

    def at(self, ids: Tensor) -> Tensor:
        """Vectors of ids [B, ..., D]."""
        return F.embedding(self.rows(ids), self.table_ND)

    def bag(self, ids_BPk: Tensor, weight_BPk: Tensor) -> Tensor:
        """Weighted sum of the vectors of each list of ids [B, P, D], without building [B, P, k, D]."""
        rows, parents, fanout = ids_BPk.shape
        bags, weights = self.rows(ids_BPk).reshape(-1, fanout), weight_BPk.reshape(-1, fanout)
        summed = F.embedding_bag(bags, self.table_ND, per_sample_weights=weights, mode="sum")
        return summed.reshape(rows, parents, -1)


class Region(NamedTuple):
    """What the slots of a batch hold. ``linked`` and ``recency`` are None where no slot is cut from a history."""

    neighbours_BS: Tensor
    relevance_BS: Tensor
    linked_BS: Tensor | None = None
    recency_BS: Tensor | None = None


SIGNALS = ("likeness", "linked", "recency")
"""What selects a neighbour of the history, see ``RelevanceWeights``; any other one is selected by its likeness."""


def signal_names(slot: Slot) -> tuple[str, ...]:
    """What selects the neighbours of a slot."""
    return SIGNALS if slot.place is not None else SIGNALS[:1]


@dataclass(frozen=True)
class Children:
    """The neighbours that one slot adds below each position of its parent. ``signals`` are what selected them: their
    relevance, and in slots of the history also linked and recency. ``vectors`` is None for leaves whose rows
    have not been gathered: ``mean`` then never builds [B, P, k, D]."""

    slot: Slot
    ids_BPk: Tensor
    signals: tuple[Tensor, ...]  # [B, P, k] each
    nodes: Nodes
    vectors: Tensor | None

    @property
    def mask_BPk(self) -> Tensor:
        return self.ids_BPk >= 0

    def vectors_BPkD(self) -> Tensor:
        return self.nodes.at(self.ids_BPk) if self.vectors is None else self.vectors

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Children:
        """The same neighbours with ``change`` of their vectors [*, D]: for leaves once a node."""
        if self.vectors is not None:
            return replace(self, vectors=change(self.vectors))
        return replace(self, nodes=replace(self.nodes, table_ND=change(self.nodes.table_ND)))

    def sum(self, weight_BPk: Tensor) -> Tensor:
        """Weighted sum of the neighbours' vectors [B, P, D]."""
        if self.vectors is None:
            return self.nodes.bag(self.ids_BPk, weight_BPk)
        return (weight_BPk.unsqueeze(3) * self.vectors).sum(dim=2)

    def equal_weights(self) -> Tensor:
        """The same weight for each neighbour of a parent [B, P, k]; they sum to 1, or are 0 where there are none."""
        mask_BPk = self.mask_BPk.float()
        return mask_BPk / mask_BPk.sum(dim=2, keepdim=True).clamp(min=1)

    def mean(self) -> Tensor:
        """Mean of the neighbours' vectors [B, P, D]; 0 where there are none."""
        return self.sum(self.equal_weights())


Combine = Callable[[Tensor, Sequence[Children], int], Tensor]
"""(parent [B, P, D], its children, hop of the children) -> the parent's new vector [B, P, D]."""


def fold(
    layout: RoiLayout, roots: Sequence[Tensor], region: Region, nodes: Mapping[str, Nodes], combine: Combine
) -> list[Tensor]:
    """Fold the trees from the deepest hop up; ``roots`` are the roots' own vectors [B, D], and so is what comes out."""
    folded: dict[int, Tensor] = {}
    below: dict[tuple[int | None, int], list[Children]] = {}
    for index in reversed(range(len(layout.slots))):
        slot = layout.slots[index]
        children = _children(slot, region, nodes, folded.get(index))
        key = (slot.parent, slot.root if slot.parent is None else -1)
        below.setdefault(key, []).insert(0, children)
        parent = slot.parent
        if parent is not None and index == layout.children(parent)[0]:
            ids_BP = region.neighbours_BS[:, _span(layout.slots[parent])]
            own_BPD = nodes[layout.slots[parent].dst_type].at(ids_BP)
            folded[parent] = combine(own_BPD, below.pop((parent, -1)), slot.hop)
    return [
        combine(root_BD.unsqueeze(1), below[None, number], 1).squeeze(1) if (None, number) in below else root_BD
        for number, root_BD in enumerate(roots)
    ]


def touched(layout: RoiLayout, neighbours_BS: Tensor) -> dict[str, list[Tensor]]:
    """All ids in the slots of a batch by node type, -1 included."""
    ids: dict[str, list[Tensor]] = {}
    for slot in layout.slots:
        ids.setdefault(slot.dst_type, []).append(neighbours_BS[:, _span(slot)].reshape(-1))
    return ids


def encode_touched(ids: Sequence[Tensor], num_nodes: int, encode: Callable[[Tensor | None], Tensor]) -> Nodes:
    """Encode each node of a type once: all of them where a batch names at least as many ids, else the distinct ones."""
    if sum(part.numel() for part in ids) >= num_nodes:
        return Nodes(encode(None), None)
    distinct = torch.unique(torch.cat([part.clamp(min=0) for part in ids]))
    return Nodes(encode(distinct), distinct)


def _span(slot: Slot) -> slice:
    return slice(slot.start, slot.start + slot.size)


def _children(slot: Slot, region: Region, nodes: Mapping[str, Nodes], folded_BSD: Tensor | None) -> Children:
    shape = (len(region.neighbours_BS), slot.size // slot.fanout, slot.fanout)
    ids, *signals = region if slot.place is not None else region[:2]
    return Children(
        slot,
        ids[:, _span(slot)].reshape(shape),
        tuple(signal[:, _span(slot)].reshape(shape) for signal in signals if signal is not None),
        nodes[slot.dst_type],
        None if folded_BSD is None else folded_BSD.reshape(*shape, -1),
    )
