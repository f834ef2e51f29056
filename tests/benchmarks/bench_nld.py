"""Cost of node distributions against the size of the graph: edges and features -> rows of the lake, for power-law
graphs of 1e5, 1e6, ... edges and a tenth as many nodes. The last stdout line is one JSON object.

``python -m tests.benchmarks.bench_nld --edges 1e7``. ``peak_memory_gib`` is the sum over the JVM, this process and
Spark's workers; pages of mapped files count in each. A small graph is done first: what a night's session has run
before, so that its start is no part of any figure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from roilake.lake import Lake, Run
from roilake.lake.session import spark_session
from roilake.pipelines.node_labels.distribution.build import distribute
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from tests.benchmarks.measuring import measured

DS = date(2020, 1, 10)
SMALLEST = 100_000
WARM_UP = 300_000  # enough for rounds in tasks
EDGES_OF_NODE = 10  # each goes both ways: a mean degree of 20
WORDS, VOCABULARY = 10, 2000  # features of a node, of all
FILES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=lambda text: int(float(text)), default=10_000_000)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", default="3g", help="of the Spark driver")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-nld-"))
    settings = {"spark.master": f"local[{args.cores}]", "spark.driver.memory": args.memory}
    spark = spark_session("bench-nld", overrides={**settings, "spark.local.dir": str(folder / "spark")})
    try:
        sizes = [size for size in (SMALLEST * 10**k for k in range(10)) if size < args.edges] + [args.edges]
        measure(spark, folder / "warm-up", WARM_UP)
        runs = {size: measure(spark, folder / str(size), size) for size in sizes}
    finally:
        spark.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures(runs) | {"cores": args.cores, "load_average": round(os.getloadavg()[0], 1)}), flush=True)


def figures(runs: dict[int, dict[str, Any]]) -> dict[str, object]:
    """Those of the largest graph, and how seconds grow with edges."""
    seconds = [run["seconds"] for run in runs.values()]
    found: dict[str, object] = {**list(runs.values())[-1], "sizes": {f"{size:.0e}": run for size, run in runs.items()}}
    if len(runs) > 1:
        found["growth_exponent"] = round(float(np.polyfit(np.log(list(runs)), np.log(seconds), 1)[0]), 3)
        steps = np.diff(np.log(seconds)) / np.diff(np.log(list(runs)))
        found["growth_exponent_by_step"] = [round(float(step), 3) for step in steps]
    return found


def measure(spark: SparkSession, folder: Path, edges: int) -> dict[str, Any]:
    """Of a graph of so many edges."""
    nodes, degree = write_graph(folder, edges)
    lake, run = (
        Lake.open(spark, folder / "lake", create=True),
        Run("bench", "node_labels", DS, "bench", "bench", "bench"),
    )
    frames = (spark.read.parquet(str(folder / name)) for name in ("edges", "features"))
    with measured(folder) as cost:
        began = time.monotonic()
        found = distribute(spark, *frames, nodes, DistributionRules(), lake.scratch("distribution"))
        prepared = time.monotonic() - began
        versions = lake.write_from_tasks(["node_distributions"], found.tasks, found.make(DS), where={"ds": DS}, run=run)
    files = lake.active_files("node_distributions", versions["node_distributions"])
    assert sum(file.rows for file in files) == nodes
    result = {
        "edges": edges,
        "nodes": nodes,
        "largest_degree": degree,
        "seconds": round(cost.seconds, 2),
        "stage_seconds": {"rounds": round(prepared, 2), "rows": round(cost.seconds - prepared, 2)},
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "nodes_per_second": round(nodes / cost.seconds),
        "edges_per_second": round(edges / cost.seconds),
        "peak_memory_gib": round(cost.memory / 2**30, 2),
        "disk_gb": round(cost.disk / 1e9, 2),
        "bytes_written": sum(file.bytes for file in files),
    }
    print(f"bench-nld  {edges:.0e} edges: {json.dumps(result)}", file=sys.stderr, flush=True)
    return result


def write_graph(folder: Path, edges: int) -> tuple[int, int]:
    """Write ``edges`` and ``features`` as parquet files; the number of nodes, and the largest degree."""
    rng, nodes = np.random.default_rng(0), edges // EDGES_OF_NODE
    ends_2E = distinct_edges(rng, nodes, edges)
    flip = rng.random(edges) < 0.5
    src, dst = np.where(flip, ends_2E[::-1], ends_2E)
    write(folder / "edges", pa.table({"src": src, "dst": dst}))
    words = (VOCABULARY * rng.random((nodes, WORDS)) ** 2).astype(np.int32)
    offsets = np.arange(0, nodes * WORDS + 1, WORDS, dtype=np.int32)
    lists = pa.ListArray.from_arrays(offsets, words.ravel())
    write(folder / "features", pa.table({"node": np.arange(nodes, dtype=np.int32), "features": lists}))
    return nodes, int(np.bincount(ends_2E.ravel()).max())


def distinct_edges(rng: np.random.Generator, nodes: int, edges: int) -> NDArray[np.int32]:
    """Both ends of an edge are drawn with weights (rank + 1)^(-2/3), a power law of exponent 2.5; ranks are dealt out
    to the nodes at random."""
    keys = np.zeros(0, np.int64)
    while len(keys) < edges:
        low, high = np.sort((nodes * rng.random((2, edges)) ** 3).astype(np.int64), axis=0)
        keys = np.union1d(keys, (low << 32 | high)[low != high])
    keys = rng.permutation(keys)[:edges]
    number = rng.permutation(nodes).astype(np.int32)
    return np.stack([number[keys >> 32], number[keys & 0xFFFFFFFF]])


def write(folder: Path, rows: pa.Table) -> None:
    """In several files, for as many tasks."""
    folder.mkdir(parents=True)
    size = -(-len(rows) // FILES)
    for file in range(FILES):
        pq.write_table(rows.slice(file * size, size), folder / f"{file}.parquet")


if __name__ == "__main__":
    main()
