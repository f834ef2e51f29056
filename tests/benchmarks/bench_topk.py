"""Full ranking against the plain product: ``python -m tests.benchmarks.bench_topk``. Progress on stderr, one JSON
object last on stdout.

``ratio_to_matmul``: time of the plain matrix product of all users and items / time of the exact top-K of the same
vectors, seen items masked, on the same threads. Both are run in turns, the best time of each counts. Plain is the
faster of two ways: one product that holds all scores (where they fit in half of the free memory), and products of
blocks of users by blocks of items, written over each other. Seen pairs are gowalla's training pairs when
``$ROILAKE_DATA`` has them, else as many drawn at random. ``peak_bytes`` is the growth of this process's resident
memory over its inputs, sampled while the top-K runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from roilake.pipelines.retrieval.scoring.topk import Product, top_k
from roilake.pipelines.retrieval.seen import Seen
from tests.retrieval.scoring.seen_pairs import seen_pairs

HIGH, WIDE = 512, 4096
PAIRS = 27  # of a user, as in gowalla


def main() -> None:
    args = _arguments()
    figures = measure(args.users, args.items, args.dim, args.k, args.rounds)
    print(json.dumps(figures), flush=True)


def measure(users: int, items: int, dim: int, shown: list[int], rounds: int) -> dict[str, object]:
    """All figures: those of the first K by name, all of them under ``by_k``."""
    generator = torch.Generator().manual_seed(0)
    scorer = Product(*(torch.randn(n, dim, generator=generator) for n in (users, items)))
    seen = _seen(users, items)
    ways: dict[str, Callable[[], object]] = {"blocks": lambda: _blocks(scorer)}
    if 4 * users * items < _available() // 2:
        ways["whole"] = lambda: scorer.requests_BD @ scorer.items_ID.T
    for k in shown:
        ways[f"top {k}"] = lambda k=k: top_k(scorer, k, seen=seen)
    peaks = {k: peak_bytes(ways[f"top {k}"]) for k in shown}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - began)
        _say(", ".join(f"{name} {seconds:.2f} s" for name, seconds in best.items()))
    plain = min(seconds for name, seconds in best.items() if not name.startswith("top"))
    by_k = {
        k: {
            "ratio_to_matmul": round(plain / best[f"top {k}"], 3),
            "users_per_second": round(users / best[f"top {k}"]),
            "peak_bytes": peaks[k],
        }
        for k in shown
    }
    return {
        **by_k[shown[0]],
        "k": shown[0],
        "shape": [users, items, dim],
        "by_k": by_k,
        "seconds": {name: round(seconds, 3) for name, seconds in best.items()},
        "matmul_gflops": round(2 * users * items * dim / plain / 1e9, 1),
        "seen_pairs": len(seen.row),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _blocks(scorer: Product) -> None:
    """The plain product, a block at a time into the same memory."""
    out_RJ = torch.empty(HIGH, WIDE)
    for row in range(0, scorer.num_requests, HIGH):
        for item in range(0, scorer.num_items, WIDE):
            left, right = scorer.requests_BD[row : row + HIGH], scorer.items_ID[item : item + WIDE]
            torch.mm(left, right.T, out=out_RJ.resize_(len(left), len(right)))


def _seen(users: int, items: int) -> Seen:
    file = Path(os.environ.get("ROILAKE_DATA", "/nowhere")) / "gowalla" / "train.txt"
    if file.exists():
        rows = [np.array(line.split(), np.int64) for line in file.read_text().splitlines()]
        user = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
        item = np.concatenate([row[1:] for row in rows])
        fits = (user < users) & (item < items)
        user, item = user[fits], item[fits]
    else:
        pairs = np.random.default_rng(0).integers(0, users * items, users * PAIRS)
        user, item = np.divmod(np.unique(pairs), items)
    return seen_pairs(user.astype(np.int64), item.astype(np.int64), users)


def peak_bytes(work: Callable[[], object]) -> int:
    """Growth of resident memory while it runs, in bytes."""
    before = _resident()
    with _sampled() as seen:
        work()
    return max(seen, default=before) - before


@contextmanager
def _sampled() -> Iterator[list[int]]:
    seen: list[int] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            seen.append(_resident())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(_resident())


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _available() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=29_858, help="gowalla's")
    parser.add_argument("--items", type=int, default=40_981, help="gowalla's")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"bench-topk  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
