"""Neighbour sampling beside a peer's, on one core and in memory: ``python -m tests.benchmarks.bench_sampling --peer
PYTHON``. Progress on stderr, one JSON line on stdout.

Two types of nodes, each with a list of 50 of the other's, drawn uniformly; trees of fan-out 10 x 5 below random roots,
without replacement. ``uniform`` and ``roi`` (the same trees by relevance to the root's interest, 32 coordinates) are
this suite's; the peer's are uniform, by DGL in an environment of its own, which --peer names. Best of --runs, by turns.

To make that environment: ``uv venv --python 3.11 dgl``, then ``uv pip install --python dgl/bin/python dgl==2.1.0
torch==2.2.1 torchdata==0.7.1 'setuptools<70' 'numpy<2' pandas pydantic pyyaml psutil scipy``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.retrieval.roi.kernel import instruction_set
from roilake.pipelines.retrieval.roi.layout import RoiLayout
from roilake.pipelines.retrieval.roi.store import RoiStore, load
from tests.benchmarks.dgl_sampling import FANOUTS, IDS, LIST

DIM, BATCH = 32, 16_384  # coordinates; roots sampled at a time, as a Spark task does
PEER = Path(__file__).with_name("dgl_sampling.py")
HOPS = tuple({kind: fanout} for kind, fanout in zip(("user_item", "item_user"), FANOUTS, strict=True))
LAYOUT = RoiLayout.of(HOPS, ("user",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--roots", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", help="Python of an environment that has dgl; left out: no peer")
    args = parser.parse_args()
    print(json.dumps(measure(args.nodes, args.roots, args.runs, args.peer)), flush=True)


def measure(nodes: int, roots: int, runs: int, peer: str | None) -> dict[str, Any]:
    """Roots a second and core by way, what a sampled edge comes to, and ours over the peer's best."""
    rng = np.random.Generator(np.random.Philox(0))
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-sampling-") as folder:
        store, root_N = _store(rng, nodes, Path(folder)), rng.integers(0, nodes // 2, roots, dtype=np.int32)
        for _ in range(runs):
            found = {sampler: _rate(store, root_N, sampler) for sampler in ("uniform", "roi")}
            found |= _peer(peer, Path(folder), roots) if peer else {}
            print(f"bench-sampling  {json.dumps({way: round(rate) for way, rate in found.items()})}", file=sys.stderr)
            rates = {way: max(rate, rates.get(way, 0.0)) for way, rate in found.items()}
    theirs = max((rate for way, rate in rates.items() if way.startswith("dgl")), default=0.0)
    return {
        "roots_per_second_per_core": {way: round(rate) for way, rate in rates.items()},
        "edges_sampled_per_second_per_core": {way: round(rate * LAYOUT.size) for way, rate in rates.items()},
        "roi_over_uniform_seconds": round(rates["uniform"] / rates["roi"], 2),
        **({"uniform_over_peer": round(rates["uniform"] / theirs, 2)} if theirs else {}),
        "nodes": nodes,
        "list": LIST,
        "fanouts": FANOUTS,
        "instruction_set": instruction_set(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _store(rng: np.random.Generator, nodes: int, folder: Path) -> RoiStore:
    half = nodes // 2
    offsets = np.arange(half + 1, dtype=np.int64) * LIST
    ids, vectors = {}, {}
    for edge_type in LAYOUT.edge_types:
        np.save(folder / IDS.format(edge_type), rng.integers(0, half, half * LIST, dtype=np.int32))
        ids[edge_type] = load(folder / IDS.format(edge_type))
    for kind in ("user", "item"):
        vectors[kind] = rng.integers(-127, 128, (half, DIM), dtype=np.int8)
    return RoiStore(dict.fromkeys(ids, offsets), ids, vectors)


def _rate(store: RoiStore, root_N: NDArray[np.int32], sampler: str) -> float:
    began = time.perf_counter()
    for start in range(0, len(root_N), BATCH):
        neighbours_BS, _ = store.sample(LAYOUT, root_N[start : start + BATCH, None], sampler, 0)
        assert (neighbours_BS[:, : FANOUTS[0]] >= 0).all()
    return len(root_N) / (time.perf_counter() - began)


def _peer(python: str, folder: Path, roots: int) -> dict[str, float]:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "DGLBACKEND": "pytorch"}
    command = [python, str(PEER), str(folder), str(roots)]
    done = subprocess.run(command, env=one_thread, check=True, capture_output=True, text=True)
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


if __name__ == "__main__":
    main()
