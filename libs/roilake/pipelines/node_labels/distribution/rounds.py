"""Rounds over ranges of nodes: each reads whole arrays of the round before and writes its part of the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.node_labels.distribution import kernel
from roilake.pipelines.node_labels.distribution.kernel import PAIR
from roilake.pipelines.node_labels.distribution.rows import Each, Rows, create, load, write
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.sequences import (
    BINS,
    NO_BIN,
    bin_of,
    distances,
    evenly,
    landmarks_of,
    lowest,
)
from roilake.pipelines.node_labels.distribution.surroundings import Range, Surroundings, cut, mask_file

_SAMPLE = 1024
"""Nodes whose distances to all landmarks give the median."""
_BLOCK = 65_536
"""Nodes whose pairs are written at a time."""
_LANDMARKS, _ANCHORS, _SAMPLED = range(3)  # what a draw is for


class Drawn(NamedTuple):
    """Nodes by what they are drawn for."""

    landmarks: NDArray
    anchors: NDArray
    sample: NDArray


def surround(folder: Path, rules: DistributionRules, ranges: Sequence[Range], each: Each) -> Surroundings:
    """All rounds but the last one, which gives the rows. ``folder`` holds ``neighbours`` and ``features``, the ranges
    all nodes."""
    graph = Rows.open(folder / "neighbours")
    create(folder / "bins.npy", graph.nodes, np.uint8)
    drawn = _merged(folder, rules, each(partial(_bin_degrees, folder, rules), ranges))
    create(folder / "pairs.npy", len(graph.ids_E), PAIR)
    each(partial(_bin_neighbours, folder), ranges)
    landmarks_MHB, scale = _landmarks(folder, graph, rules.landmarks, drawn)
    rounds = _search(folder, drawn.anchors, rules.levels, lambda work: each(work, ranges))
    return Surroundings(folder, rules, rounds, landmarks_MHB, scale)


def _bin_degrees(folder: Path, rules: DistributionRules, range_: Range) -> Drawn:
    """Write the range's bins; which of its nodes may be drawn."""
    first, last = range_
    bins = bin_of(np.diff(load(folder / "neighbours" / "offsets.npy")[first : last + 1]))
    write(folder / "bins.npy", first, bins)
    nodes = first + np.flatnonzero(bins != NO_BIN)
    return _candidates(rules, nodes, bins[nodes - first])


def _candidates(rules: DistributionRules, nodes: NDArray, bins: NDArray) -> Drawn:
    """Of nodes with neighbours, in any order. A node without is no anchor: no other would reach it."""
    one = np.zeros(len(nodes), np.int8)
    return Drawn(
        lowest(nodes, bins, rules.landmarks, rules.seed, _LANDMARKS)[0],
        lowest(nodes, one, rules.anchors, rules.seed, _ANCHORS)[0],
        lowest(nodes, one, _SAMPLE, rules.seed, _SAMPLED)[0],
    )


def _merged(folder: Path, rules: DistributionRules, drawn: Sequence[Drawn]) -> Drawn:
    """What is drawn of all ranges. Landmarks have degrees of all sizes, and come in order of these."""
    landmarks, anchors, sample = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    bins_N = load(folder / "bins.npy")
    return Drawn(
        evenly(landmarks, bins_N[landmarks], rules.landmarks, rules.seed, _LANDMARKS),
        lowest(anchors, np.zeros(len(anchors), np.int8), rules.anchors, rules.seed, _ANCHORS)[0],
        lowest(sample, np.zeros(len(sample), np.int8), _SAMPLE, rules.seed, _SAMPLED)[0],
    )


def _bin_neighbours(folder: Path, range_: Range) -> None:
    graph, bins_N = Rows.open(folder / "neighbours"), load(folder / "bins.npy")
    for first, last in cut(*range_, _BLOCK):
        pairs = kernel.bin_neighbours(graph, bins_N, BINS, first, last)
        write(folder / "pairs.npy", int(graph.offsets_N1[first]), pairs)


def _landmarks(folder: Path, graph: Rows, count: int, drawn: Drawn) -> tuple[NDArray[np.int64], float]:
    """Counts of the landmarks, zeros beyond as many as there are; and the median distance of the sample to them."""
    walks = partial(kernel.count_walks, graph, load(folder / "pairs.npy"), BINS)
    landmarks_MHB = np.zeros((count, 2, BINS), np.int64)
    landmarks_MHB[: len(drawn.landmarks)] = walks(drawn.landmarks)
    far = distances(walks(drawn.sample), landmarks_of(landmarks_MHB))
    median = float(np.median(far[np.isfinite(far)])) if len(drawn.sample) else 0.0
    return landmarks_MHB, median or 1.0  # 0 where nodes are alike: nothing is left to scale


def _search(
    folder: Path, anchors: NDArray, levels: int, on_ranges: Callable[[Callable[[Range], bool]], list[Any]]
) -> int:
    """Breadth first from all anchors at once, a bit each, until nothing changes; how many masks there are."""
    nodes = len(load(folder / "bins.npy"))
    create(mask_file(folder, 0), nodes, np.uint64)
    for bit, anchor in enumerate(anchors.tolist()):
        write(mask_file(folder, 0), anchor, np.array([1 << bit], np.uint64))
    for level in range(1, levels + 1):
        create(mask_file(folder, level), nodes, np.uint64)
        if not any(on_ranges(partial(_spread, folder, level))):
            return level
    return levels + 1


def _spread(folder: Path, level: int, range_: Range) -> bool:
    graph, mask_N = Rows.open(folder / "neighbours"), load(mask_file(folder, level - 1))
    next_n, changed = kernel.spread(graph, mask_N, *range_)
    write(mask_file(folder, level), range_[0], next_n)
    return changed
