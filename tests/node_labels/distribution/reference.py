"""The distributions of nodes in plain Python, from their definition; and graphs to try them on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import networkx as nx
import numpy as np

from roilake.hashing import keyed_hash
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.surroundings import Distribution

LEAST = sorted({math.ceil(2 ** (quarter / 4)) for quarter in range(124)})
Sequence_ = list[tuple[int, float]]  # degree, weight


def reference(
    edges: Sequence[tuple[int, int]], features: Sequence[Sequence[int]], rules: DistributionRules
) -> Distribution:
    graph = nx.Graph()
    graph.add_nodes_from(range(len(features)))
    graph.add_edges_from((a, b) for a, b in edges if a != b)
    nodes, linked = len(features), [node for node in graph if graph.degree(node)]
    position, similarity = np.zeros((nodes, rules.anchors)), np.zeros((nodes, 8))
    for column, anchor in enumerate(by_hash(linked, rules.seed, 1)[: rules.anchors]):
        for node, hops in nx.single_source_shortest_path_length(graph, anchor, rules.levels).items():
            position[node, column] = 1 / (1 + hops)
    for node, neighbour in ((a, b) for a in linked for b in graph[a]):
        own, theirs = set(features[node]), set(features[neighbour])
        both = len(own & theirs)
        cosine = both / math.sqrt(len(own) * len(theirs)) if both else 0.0
        similarity[node, min(7, int(8 * cosine))] += 1
    degree = np.array([graph.degree(node) for node in range(nodes)])
    similarity /= np.maximum(degree, 1)[:, None]
    floats = (array.astype(np.float32) for array in (topology(graph, rules), position, similarity))
    return Distribution(degree, *floats)


def topology(graph: nx.Graph, rules: DistributionRules) -> np.ndarray:
    linked = [node for node in graph if graph.degree(node)]
    far = {(i, j): distance(graph, i, j) for i in linked for j in drawn_landmarks(graph, rules)}
    scale = float(np.median(list(far.values()))) if far else 0.0  # of a graph no larger than the sample
    values = np.zeros((len(graph), rules.landmarks))
    for column, landmark in enumerate(drawn_landmarks(graph, rules)):
        for node in linked:
            values[node, column] = math.exp(-far[node, landmark] / (scale or 1.0))
    return values


def drawn_landmarks(graph: nx.Graph, rules: DistributionRules) -> list[int]:
    """One of each bin of degrees in turn, as long as there are some."""
    linked = by_hash([node for node in graph if graph.degree(node)], rules.seed, 0)
    bins = {node: binned(graph.degree(node)) for node in linked}
    ranks = {node: sum(bins[other] == bins[node] for other in linked[:place]) for place, node in enumerate(linked)}
    chosen = sorted(linked, key=lambda node: ranks[node])[: rules.landmarks]  # stable: by hash within a rank
    return sorted(chosen, key=lambda node: (bins[node], ranks[node]))


def by_hash(nodes: list[int], seed: int, purpose: int) -> list[int]:
    return sorted(nodes, key=lambda node: int(keyed_hash(seed, purpose, node)))


def binned(degree: int) -> int:
    return max(least for least in LEAST if least <= degree)


def distance(graph: nx.Graph, i: int, j: int) -> float:
    """The sum over walks of length 1 and 2."""
    ends = [(list(graph[node]), [b for a in graph[node] for b in graph[a]]) for node in (i, j)]
    return sum(warp(*(sequence([graph.degree(end) for end in of[hop]]) for of in ends)) for hop in range(2))


def sequence(degrees: Sequence[int]) -> Sequence_:
    counts = Counter(binned(degree) for degree in degrees)
    return [(degree, math.log2(1 + counts[degree])) for degree in sorted(counts)]


def warp(one: Sequence_, two: Sequence_) -> float:
    """Dynamic time warping, cell by cell."""
    if not one or not two:
        return math.inf
    best = {(-1, -1): 0.0}
    for i, (a, weight_a) in enumerate(one):
        for j, (b, weight_b) in enumerate(two):
            before = min(best.get(cell, math.inf) for cell in ((i - 1, j), (i - 1, j - 1), (i, j - 1)))
            cost = ((max(a, b) + 0.5) / (min(a, b) + 0.5) - 1) * max(weight_a, weight_b)
            best[i, j] = before + cost
    return best[len(one) - 1, len(two) - 1]


def feature_rows(features: Sequence[Sequence[int]]) -> Rows:
    offsets = np.cumsum([0, *(len(some) for some in features)], dtype=np.int64)
    return Rows(offsets, np.array([each for some in features for each in some], np.int32))


def edge_array(edges: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.array(edges, np.int32).reshape(-1, 2).T


def random_graph(nodes: int, edges: int, seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """Edges with hubs among low numbers, loops, doubles, some both ways; every seventh node has neither edge nor
    feature."""
    rng = np.random.default_rng(seed)
    edge_2E = (nodes * rng.random((2, edges)) ** 2).astype(np.int32)
    edge_2E = edge_2E[:, (edge_2E % 7 > 0).all(axis=0)]
    edge_2E = np.concatenate([edge_2E, edge_2E[::-1, ::3], edge_2E[:, ::5]], axis=1)
    sizes = rng.integers(0, 9, nodes) * (np.arange(nodes) % 7 > 0)
    return edge_2E, [rng.choice(30, size, replace=False).tolist() for size in sizes]
