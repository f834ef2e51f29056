"""Roots a second of DGL's uniform sampling on one core: run by ``bench_sampling`` under a Python that has dgl, on the
lists that it wrote. Both of DGL's ways are timed at several batches, each after a warm-up; the best batch counts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

IDS, LIST, FANOUTS = "{}.ids.npy", 50, (10, 5)
BATCHES = (1024, 8192, 65_536)


def main(folder: Path, roots: int) -> None:
    """One JSON line: roots a second by way."""
    import dgl  # type: ignore[import-not-found]
    import dgl.graphbolt as graphbolt  # type: ignore[import-not-found]
    import torch

    dgl.utils.set_num_threads(1)
    torch.set_num_threads(1)
    # Nodes of both types as one graph, users first: a list is what a node's in-edges come from.
    first, second = (np.load(folder / IDS.format(kind)) for kind in ("user_item", "item_user"))
    half = len(first) // LIST
    sources = torch.from_numpy(np.concatenate([first + half, second]).astype(np.int64))
    starts = torch.arange(2 * half + 1) * LIST
    seeds = torch.from_numpy(np.random.default_rng(1).integers(0, half, roots))
    graph = dgl.graph(("csc", (starts, sources, torch.empty(0, dtype=torch.int64))), num_nodes=2 * half)
    fused = graphbolt.fused_csc_sampling_graph(starts, sources)

    def by_sample_neighbors(nodes: Any) -> None:
        for fanout in FANOUTS:
            nodes = dgl.sampling.sample_neighbors(graph, nodes, fanout).edges()[0]

    def by_graphbolt(nodes: Any) -> None:
        for fanout in FANOUTS:
            nodes = fused.sample_neighbors(nodes, torch.tensor([fanout])).sampled_csc.indices

    ways = {"dgl_sample_neighbors": by_sample_neighbors, "dgl_graphbolt": by_graphbolt}
    print(json.dumps({name: max(_rate(way, seeds, b) for b in BATCHES) for name, way in ways.items()}))


def _rate(way: Callable[[Any], None], seeds: Any, batch: int) -> float:
    way(seeds[:batch])
    began = time.perf_counter()
    for part in seeds.split(batch):
        way(part)
    return len(seeds) / (time.perf_counter() - began)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
