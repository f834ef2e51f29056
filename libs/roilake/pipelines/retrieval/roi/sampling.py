"""Trees of neighbours, hop by hop: what both physical plans share.

Legend of shape suffixes: B rows (requests or items), R roots, S slots, L lists (parents), D dimension."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.retrieval.config import RelevanceWeights, RetrievalConfig
from roilake.pipelines.retrieval.roi.kernel import Lists, Queries, Tree, expand
from roilake.pipelines.retrieval.roi.layout import Layouts, RoiLayout, Slot

GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Sampling:
    """What to sample: the tree of each side ("request", "item"), the sampler, and the seed of ``uniform``; what counts
    in the relevance of a history's neighbours (likeness, linked, recency), and how many of its events."""

    layouts: Mapping[str, RoiLayout]
    sampler: str
    seed: int
    weights: tuple[float, float, float]
    max_events: int

    @classmethod
    def of(cls, config: RetrievalConfig, weights: RelevanceWeights) -> Sampling:
        """As the config says, by these weights."""
        parts = weights.likeness, weights.linked, weights.recency
        roi, most = config.roi, config.history.max_events
        return cls(Layouts.of(roi)._asdict(), roi.sampler, config.seed, parts, most)


class ListSource(Protocol):
    """Where the lists of parents lie."""

    def lists(self, edge_type: str, parents_L: NDArray[np.int32]) -> Lists:
        """Lists of the parents; empty for -1 and for nodes without one."""


def sample_tree(
    source: ListSource,
    layout: RoiLayout,
    roots_BR: NDArray[np.int32],
    focal_BD: NDArray[np.int16],
    sampler: str,
    seed: int,
    tree: Tree | None = None,
) -> Tree:
    """All hops of all rows: neighbour ids [B, S], -1 padded, and round(127 * relevance) [B, S]. The history slots are
    those of ``tree``, which is filled; without one they stay empty.

    Of each parent's list the top ``fanout`` are kept: by (relevance desc, weight desc, id asc) for the sampler ``roi``,
    by (weight desc, id asc) for ``weighted``, by a keyed hash for ``uniform``. From hop 2 on, a root of the row is
    never kept."""
    tree = tree or Tree.empty(len(roots_BR), layout.size, layout.places)
    for slot in (slot for slot in layout.slots if slot.place is None):
        parents_L = parents(layout, slot, roots_BR, tree.neighbours_BS)
        queries = Queries(
            focal_BD, skipped(layout, slot, roots_BR), list_keys(seed, slot, roots_BR, parents_L, sampler)
        )
        lists = source.lists(slot.edge_type, parents_L)
        expand(lists, queries, slot.fanout, sampler, tree.neighbours_BS, tree.relevance_BS, start=slot.start)
    return tree


def parents(
    layout: RoiLayout, slot: Slot, roots_BR: NDArray[np.int32], neighbours_BS: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Node ids that the slot's lists start from, row by row; -1 for none."""
    if slot.parent is None:
        return roots_BR[:, slot.root]
    above = layout.slots[slot.parent]
    return neighbours_BS[:, above.start : above.start + above.size].reshape(-1)


def skipped(layout: RoiLayout, slot: Slot, roots_BR: NDArray[np.int32]) -> NDArray[np.int32]:
    """The root that must not come back in this slot, by row; -1 for none."""
    if slot.hop == 1 or slot.dst_type not in layout.roots:
        return np.full(len(roots_BR), -1, np.int32)
    return roots_BR[:, layout.roots.index(slot.dst_type)]


def list_keys(
    seed: int, slot: Slot, roots_BR: NDArray[np.int32], parents_L: NDArray[np.int32], sampler: str
) -> NDArray[np.uint64]:
    """Key of each list's uniform draw: hash of (seed, roots, hop, edge type, parent); zeros if not needed."""
    if sampler != "uniform":
        return np.zeros(len(parents_L), np.uint64)
    key_B = np.full(len(roots_BR), (seed + GOLDEN) % 2**64, np.uint64)
    for root_B in roots_BR.T:
        key_B = mix(key_B ^ root_B.astype(np.uint64))
    key_B = mix(mix(key_B ^ np.uint64(slot.hop)) ^ np.uint64(zlib.crc32(slot.edge_type.encode())))
    key_L = np.repeat(key_B, len(parents_L) // max(1, len(roots_BR)))
    return mix(key_L ^ parents_L.astype(np.uint64))


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalizer of splitmix64, as in ``kernel.c``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def focal(
    vectors: Mapping[str, NDArray[np.int8]], roots: Sequence[str], roots_BR: NDArray[np.int32]
) -> NDArray[np.int16]:
    """F = sum of the roots' quantised vectors, [B, D]."""
    parts = [rows_of(vectors[kind], root_B) for kind, root_B in zip(roots, roots_BR.T, strict=True)]
    return np.sum(parts, axis=0, dtype=np.int16)


def rows_of(vectors_ND: NDArray[np.int8], ids: NDArray[np.int32]) -> NDArray[np.int8]:
    """Vectors of these nodes; zero for -1 and for nodes without one."""
    known = (ids >= 0) & (ids < len(vectors_ND))
    found = np.zeros((len(ids), vectors_ND.shape[1]), np.int8)
    found[known] = vectors_ND[ids[known]]
    return found
