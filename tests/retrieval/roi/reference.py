"""ROI sampling again, written as plainly as the definition: what the kernel is held against."""

from __future__ import annotations

import zlib
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.retrieval.roi import RoiLayout

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


def sample(
    graph: Graph, vectors: Vectors, layout: RoiLayout, roots: list[int], sampler: str, seed: int
) -> tuple[list[int], list[int]]:
    """Neighbours and relevance of one row."""
    focal = sum(vector_of(vectors, kind, root) for kind, root in zip(layout.roots, roots, strict=True))
    ids, stored = [-1] * layout.size, [0] * layout.size
    for slot in layout.slots:
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
    return ids, stored


def vector_of(vectors: Vectors, node_type: str, node: int) -> NDArray:
    """A node's vector; zero for one that has none."""
    known = vectors[node_type]
    return known[node].astype(np.int64) if 0 <= node < len(known) else np.zeros(known.shape[1], np.int64)
