"""How fast ROIs are built: ``python -m tests.benchmarks.bench_roi``. Progress on stderr, one JSON line on stdout.

Sizes and parts are arguments. Two-hop trees of fan-out 10 x 5 (60 slots): for each request, with the sum of user and
query vector as focal, 10 items of the user and 5 users of each; for each item 10 users and 5 items of each. Timed is
the job ``build_rois``, Delta in to Delta out, laying out the store or the buckets included, in a session that has run
the same job on a graph of a hundredth before. Both plans must write equal rows, and so must Spark SQL.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.retrieval import build_rois
from roilake.lake import Lake
from roilake.lake.session import spark_session
from roilake.pipelines.retrieval.roi.kernel import Lists, Queries, expand, instruction_set
from roilake.pipelines.retrieval.roi.store import lay_out
from roilake.runtime.step import StepResult
from tests.benchmarks.roi_graph import DS, LONGEST, Sizes, night_config, write_tables
from tests.benchmarks.spark_sql_rois import relevant_rois, uniform_rois

KERNEL_NODES, KERNEL_LISTS = 1_000_000, 40_000


def main() -> None:
    args = _arguments()
    sizes = Sizes(**{name: getattr(args, name) for name in asdict(Sizes())})
    with _lakes(args.cores, args.memory) as open_lake:
        figures = measure(open_lake, sizes, args.cores, args.sql_requests, args.kernel_nodes)
    print(json.dumps(figures), flush=True)


def measure(
    open_lake: Callable[[str], Lake],
    sizes: Sizes,
    cores: int,
    sql_requests: int,
    kernel_nodes: int,
    *,
    warm_up: bool = True,
) -> dict[str, object]:
    """All figures, by name."""
    edges_per_second = kernel_rate(kernel_nodes)
    _say(f"kernel: {edges_per_second / 1e6:.1f} M edges/s on one core ({instruction_set()})")
    if warm_up:
        _warm_up(open_lake("warm-up"), sizes)
    lake = open_lake("graph")
    counts = write_tables(lake, sizes, seed=0)
    _say(f"graph: {counts['nodes']:,} nodes, {counts['edges']:,} edges")
    results: dict[str, StepResult] = {}
    for plan in ("local", "shuffled"):
        results[plan] = build_rois.run(lake, night_config(sizes, plan), DS)
    versions = {plan: result.outputs["rois"] for plan, result in results.items()}
    _check_equal(*(_rows(lake.read("rois", version=version)) for version in versions.values()))
    rate = {plan: result.rows_out / result.seconds / cores for plan, result in results.items()}
    sql = _spark_sql(lake, versions["local"], sql_requests, cores)
    return {
        "rois_per_second_per_core": round(rate["local"], 1),
        "rois_per_second_per_core_shuffled": round(rate["shuffled"], 1),
        "bytes_per_roi": results["local"].details["bytes_per_roi"],
        "kernel_edges_per_second_per_core": round(edges_per_second),
        "speedup_vs_spark_sql": round(rate["local"] / sql["relevant"], 1),
        "speedup_vs_spark_sql_uniform": round(rate["local"] / sql["uniform"], 1),
        "spark_sql_rois_per_second_per_core": round(sql["relevant"], 1),
        "spark_sql_uniform_rois_per_second_per_core": round(sql["uniform"], 1),
        "spark_sql_requests": sql_requests,
        "seconds": {plan: result.seconds for plan, result in results.items()},
        "store_layout_seconds": round(_layout_seconds(lake), 2),
        "rois": {"requests": sizes.requests, "items": sizes.items},
        "layout": "10 user_item x 5 item_user below a request, 10 item_user x 5 user_item below an item",
        **counts,
        "dim": sizes.dim,
        "cores": cores,
        "load_average": round(os.getloadavg()[0], 1),
        "instruction_set": instruction_set(),
    }


def _warm_up(lake: Lake, sizes: Sizes) -> None:
    """Both plans once, on a graph of a hundredth: what a night's session has run before."""
    counts = {name: max(50, value // 100) for name, value in asdict(sizes).items() if name != "dim"}
    small = replace(sizes, **counts)
    write_tables(lake, small, seed=1)
    for plan in ("local", "shuffled"):
        build_rois.run(lake, night_config(small, plan), DS)


def kernel_rate(nodes: int) -> float:
    """Edges scored a second by one core: full lists of ``nodes`` random nodes, hop 2 of 10 x 5; best of five."""
    rng = np.random.Generator(np.random.Philox(0))
    ids = rng.integers(0, nodes, nodes * LONGEST, dtype=np.int32)
    vectors = _mapped(rng.integers(-127, 128, (nodes, 32), dtype=np.int8))
    first = rng.integers(0, nodes, KERNEL_LISTS) * LONGEST
    lists, rows = Lists(first, first + LONGEST, ids, vectors, False), KERNEL_LISTS // 10
    queries = Queries(rng.integers(-254, 255, (rows, 32)).astype(np.int16), np.full(rows, -1), np.zeros(len(first)))
    seconds = []
    for _ in range(5):
        neighbours, relevance = np.full((rows, 50), -1, np.int32), np.zeros((rows, 50), np.int8)
        began = time.perf_counter()
        expand(lists, queries, 5, "roi", neighbours, relevance)
        seconds.append(time.perf_counter() - began)
    return len(first) * LONGEST / min(seconds)


def _mapped(array: np.ndarray) -> np.ndarray:
    """The array as a store has it: a mapped file."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/array.npy", array)
        return np.load(f"{folder}/array.npy", mmap_mode="r")


def _spark_sql(lake: Lake, version: int, count: int, cores: int) -> dict[str, float]:
    """ROIs a second and core of both Spark SQL ways, on ``count`` of the requests."""
    requests = lake.read("requests").where(F.col("request_id") < count)
    adjacency, vectors = lake.read("adjacency"), lake.read("interest_vectors")
    folder = lake.scratch("spark-sql")
    edges = {kind: _edges(adjacency, kind, f"{folder}/{kind}") for kind in ("user_item", "item_user")}
    ways = {
        "relevant": lambda: relevant_rois(requests, adjacency, vectors),
        "uniform": lambda: uniform_rois(requests, edges["user_item"], edges["item_user"]),
    }
    rates = {}
    for name, way in ways.items():
        began = time.monotonic()
        way().write.format("delta").save(f"{folder}/{name}")
        seconds = time.monotonic() - began
        rates[name] = count / seconds / cores
        _say(f"Spark SQL, {name}: {count:,} requests in {seconds:.1f} s, {rates[name]:.1f} ROIs/s/core")
    some = (F.col("side") == "request") & (F.col("root") < count)
    ours = _rows(lake.read("rois", version=version).where(some).drop("positives"))
    _check_equal(
        ours.select(["root", "neighbours", "relevance"]),
        _rows(lake.spark.read.format("delta").load(f"{folder}/relevant")),
    )
    return rates


def _edges(adjacency: DataFrame, kind: str, path: str) -> DataFrame:
    lists = adjacency.where(F.col("edge_type") == kind)
    lists.select("src", F.explode("neighbours").alias("dst")).write.parquet(path)
    return adjacency.sparkSession.read.parquet(path)


def _rows(frame: DataFrame) -> pa.Table:
    keys = [name for name in ("side", "as_of", "root") if name in frame.columns]
    return frame.toArrow().sort_by([(key, "ascending") for key in keys])


def _check_equal(one: pa.Table, other: pa.Table) -> None:
    differing = [
        name for name in one.column_names if not one[name].combine_chunks().equals(other[name].combine_chunks())
    ]
    if len(one) != len(other) or differing:
        raise AssertionError(f"rows differ: {len(one)} and {len(other)}, columns {differing}")
    _say(f"{len(one):,} rows are equal")


def _layout_seconds(lake: Lake) -> float:
    """What laying out the store takes, once a machine: part of the local plan's time, stated apart."""
    files = [[f.path for f in lake.active_files(t, lake.version(t))] for t in ("adjacency", "interest_vectors")]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        lay_out(Path(folder) / "store", *files)
        return time.monotonic() - began


@contextmanager
def _lakes(cores: int, memory: str) -> Iterator[Callable[[str], Lake]]:
    settings = {"spark.master": f"local[{cores}]", "spark.driver.memory": memory}
    spark = spark_session("bench-roi", overrides=settings)
    folder = Path(tempfile.mkdtemp(prefix="bench-roi-"))
    try:
        yield lambda name: Lake.open(spark, folder / name, create=True)
    finally:
        spark.stop()
        shutil.rmtree(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--sql-requests", type=int, default=20_000, help="requests that Spark SQL does")
    parser.add_argument("--kernel-nodes", type=int, default=KERNEL_NODES)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", default="4g", help="of the Spark driver")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"bench-roi  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
