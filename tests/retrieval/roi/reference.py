"""ROI sampling again, written as plainly as the definition: what the kernel is held against."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.retrieval.roi.layout import RoiLayout, Slot

Graph = dict[str, dict[int, list[int]]]  # by edge type, by source: neighbours in list order
Vectors = dict[str, NDArray]  # by node type: whole numbers, [nodes, dimension]
MASK = 2**64 - 1


def relevance(focal: NDArray, vector: NDArray) -> Fraction:
    """Tanimoto as an exact fraction."""
    dot, squares = int(focal @ vector), int(focal @ focal) + int(vector @ vector)
    return Fraction(dot, squares - dot) if squares - dot else Fraction(0)


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def uniform_draw(seed: int, roots: list[int], hop: int, edge_type: str, parent: int, neighbour: int) -> int:
    key = (seed + 0x9E3779B97F4A7C15) & MASK
    for part in (*roots, hop, zlib.crc32(edge_type.encode()), parent, neighbour):
        key = mix(key ^ (part & MASK))
    return key >> 11


@dataclass(frozen=True)
class History:
    """A request's user's events (microseconds, item, query), its time, and what counts."""

    events: list[tuple[int, int, int]]
    now: int
    weights: tuple[float, float, float]
    most: int

    @property
    def before(self) -> list[tuple[int, int, int]]:
        return sorted({event for event in self.events if event[0] < self.now})[-self.most :]

    def newest(self, column: int) -> dict[int, int]:
        """Distinct items (1) or queries (2), newest first, and the time of each."""
        found: dict[int, int] = {}
        for event in reversed(self.before):
            if event[column] >= 0:
                found.setdefault(event[column], event[0])
        return found


def age_code(microseconds: int) -> int:
    x = 1 + microseconds // 1_000_000
    octave = x.bit_length() - 1
    return min(255, 8 * octave + int(Fraction(x, 2**octave) * 8) % 8)


Tree = tuple[list[int], list[int], list[int], list[int]]
"""Neighbours, relevance, and of the history slots linked and ages."""


def sample(
    graph: Graph, vectors: Vectors, layout: RoiLayout, roots: list[int], sampler: str, seed: int, history: History
) -> Tree:
    """The tree of one row."""
    focal = sum(vector_of(vectors, kind, root) for kind, root in zip(layout.roots, roots, strict=True))
    if layout.history and roots[1] < 0:
        focal = focal + sum(vector_of(vectors, "item", item) for item in list(history.newest(1))[:5])
    ids, stored = [-1] * layout.size, [0] * layout.size
    linked, ages = [0] * layout.places, [127] * layout.places
    for slot in layout.slots:
        if slot.place is not None:
            for position, (n, r, link, age) in enumerate(
                _chosen(graph, vectors, slot, roots, focal, sampler, seed, history)
            ):
                ids[slot.start + position], stored[slot.start + position] = n, round(127 * float(r))
                linked[slot.place + position], ages[slot.place + position] = link, age - 128
            continue
        if slot.parent is None:
            parents = [roots[slot.root]]
        else:
            above = layout.slots[slot.parent]
            parents = ids[above.start : above.start + above.size]
        for place, parent in enumerate(parents):
            found = graph.get(slot.edge_type, {}).get(parent, [])
            if slot.hop > 1:
                found = [n for n in found if (slot.dst_type, n) not in zip(layout.roots, roots, strict=True)]
            r = {n: relevance(focal, vector_of(vectors, slot.dst_type, n)) for n in found}
            if sampler == "roi":
                found = sorted(found, key=lambda n: -r[n])
            if sampler == "uniform":
                found = sorted(found, key=lambda n: -uniform_draw(seed, roots, slot.hop, slot.edge_type, parent, n))
            for position, n in enumerate(found[: slot.fanout]):
                at = slot.start + place * slot.fanout + position
                ids[at], stored[at] = n, round(127 * float(r[n]))
    return ids, stored, linked, ages


def _chosen(
    graph: Graph, vectors: Vectors, slot: Slot, roots: list[int], focal: NDArray, sampler: str, seed: int, own: History
) -> list[tuple[int, Fraction, int, int]]:
    """What a history slot keeps: neighbour, Tanimoto, whether linked, age."""
    user, query = roots
    found = []
    for n, time in own.newest(1 if slot.dst_type == "item" else 2).items():
        links = graph.get("item_query", {}).get(n, []) if slot.dst_type == "item" else [n]
        r = relevance(focal, vector_of(vectors, slot.dst_type, n))
        found.append((n, r, int(query >= 0 and query in links), age_code(own.now - time)))
    if sampler == "weighted" or (slot.edge_type == "user_item_recent" and sampler == "roi"):
        return found[: slot.fanout]
    if sampler == "uniform":
        key = lambda c: -uniform_draw(seed, roots, slot.hop, slot.edge_type, user, c[0])  # noqa: E731
    else:
        likeness, link, recency = own.weights
        key = lambda c: -(likeness * float(c[1]) + link * c[2] + recency * (1 - c[3] / 256))  # noqa: E731
    return sorted(found, key=key)[: slot.fanout]


def vector_of(vectors: Vectors, node_type: str, node: int) -> NDArray:
    """A node's vector; zero for one that has none."""
    known = vectors[node_type]
    return known[node].astype(np.int64) if 0 <= node < len(known) else np.zeros(known.shape[1], np.int64)
