"""Cost of a graph's build against its size: events -> published adjacency at 1e6, 1e7, ... events; at the largest also
the next night, which brings a thousandth as many, and plain Spark SQL's way. The last stdout line is one JSON object.

``python -m tests.benchmarks.bench_scale --edges 1e8``; events are made once (tests.benchmarks.expand_events), kept in
--folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.retrieval import build_graph
from roilake.lake import Lake
from roilake.lake.session import spark_session
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.registry import load_config
from roilake.runtime.step import StepResult
from tests.benchmarks import expand_events
from tests.benchmarks.measuring import Cost, measured
from tests.benchmarks.room import check_room
from tests.benchmarks.spark_sql_graph import adjacency

ROOT = Path(__file__).parents[2]
DS = date(1998, 4, 22)
SMALLEST = 1_000_000
NIGHT = 1000  # events per event of the next night


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--no-sql", action="store_true", help="leave out Spark SQL's way")
    args = parser.parse_args()
    edges = expand_events.parse_edges(args.edges)
    if not args.force:
        check_room(edges, Path(args.folder))
    config = load_config(ROOT / "conf" / "nights" / "retrieval" / "expanded.yaml", "retrieval")
    with session(args.cores, args.memory) as (spark, local):
        figures = measure(spark, config, sizes(edges), Path(args.folder), local, sql=not args.no_sql)
    print(json.dumps({**figures, "cores": args.cores, "load_average": round(os.getloadavg()[0], 1)}), flush=True)


def sizes(edges: int) -> list[int]:
    """Powers of ten from ``SMALLEST`` on, and ``edges``."""
    return [*(SMALLEST * 10**k for k in range(10) if SMALLEST * 10**k < edges), edges]


def measure(
    spark: SparkSession,
    config: RetrievalConfig,
    edges: list[int],
    folder: Path,
    local: Path,
    *,
    sql: bool,
    warm_up: int | None = 100_000,
) -> dict[str, object]:
    """All figures, by name. ``local`` is where Spark spills. A graph of ``warm_up`` events is built first: what a
    night's session has run before, so that its start is no part of any figure."""
    cores = spark.sparkContext.defaultParallelism
    if warm_up:
        build(scale_lake(spark, config, warm_up, folder), config, local)
    runs = {}
    for size in edges:
        lake = scale_lake(spark, config, size, folder)
        result, cost = build(lake, config, local)
        runs[size] = _figures(result, cost, cores)
        say(f"{size:.0e} events: {json.dumps(runs[size])}")
    seconds = [run["seconds"] for run in runs.values()]
    figures: dict[str, object] = {"sizes": {f"{size:.0e}": run for size, run in runs.items()}}
    if len(edges) > 1:
        figures["growth_exponent"] = round(float(np.polyfit(np.log(edges), np.log(seconds), 1)[0]), 3)
        steps = np.diff(np.log(seconds)) / np.diff(np.log(edges))
        figures["growth_exponent_by_step"] = [round(float(step), 3) for step in steps]
    if sql:
        theirs = _spark_sql(lake, config, local)
        figures["spark_sql"] = {name: round(value, 1) for name, value in theirs.items()}
        figures["speedup_vs_spark_sql"] = round(theirs["seconds"] / seconds[-1], 2)
        figures["cpu_speedup_vs_spark_sql"] = round(theirs["cpu_seconds"] / runs[edges[-1]]["cpu_seconds"], 2)
    figures["next_night"] = _next_night(lake, config, local, edges[-1] // NIGHT)
    return figures


def scale_folder(edges: int, folder: Path) -> Path:
    """Where the lake with that many events lies, or will."""
    return folder / f"{edges:.0e}"


def scale_lake(spark: SparkSession, config: RetrievalConfig, edges: int, folder: Path) -> Lake:
    """A lake with that many events, made unless it is there."""
    lake = Lake.open(spark, scale_folder(edges, folder), create=True)
    if not lake.exists("runs") or not any(row["step"] == "expand_events" for row in _runs(lake)):
        shutil.rmtree(lake.folder, ignore_errors=True)
        result = expand_events.run(lake, config, DS, edges, force=True)  # looked at before the first
        say(f"{result.rows_out:,} events in {result.seconds:.0f} s, {result.bytes / result.rows_out:.1f} bytes each")
    return lake


def _runs(lake: Lake) -> list[dict[str, Any]]:
    return lake.to_arrow("runs", lake.version("runs"), filters={"ds": DS}, columns=["step", "details"]).to_pylist()


def build(lake: Lake, config: RetrievalConfig, local: Path) -> tuple[StepResult, Cost]:
    """Build the graph in place of any that is there."""
    for table in ("node_ids", "nodes", "histories", "edges", "adjacency", "_state/graph_sums"):
        shutil.rmtree(lake.folder / table, ignore_errors=True)
    with measured(lake.folder, local) as cost:
        result = build_graph.run(lake, config, DS)
    return result, cost


def _next_night(lake: Lake, config: RetrievalConfig, local: Path, events: int) -> dict[str, Any]:
    """The night after, of so many events: times are those of the first night, so all of them come late."""
    ds = DS + timedelta(days=1)
    expand_events.run(lake, config, ds, max(events, 1000), force=True)
    with measured(lake.folder, local) as cost:
        result = build_graph.run(lake, config, ds)
    figures = _figures(result, cost, lake.spark.sparkContext.defaultParallelism)
    say(f"next night: {json.dumps(figures)}")
    return figures | {"new_events": result.details["new_events"]}


def _figures(result: StepResult, cost: Cost, cores: int) -> dict[str, Any]:
    return {
        "events": result.rows_in,
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "cores_busy": round(cost.cpu_seconds / result.seconds / cores, 2),
        "events_per_second_per_core": round(result.rows_in / result.seconds / cores),
        "peak_memory_gib": round(cost.memory / 2**30, 2),
        "disk_gb": round(cost.disk / 1e9, 2),
        "bytes_written": result.bytes,
        **{name: result.details[name] for name in ("parts", "spilled_bytes", "stage_seconds", "task_seconds")},
    }


def _spark_sql(lake: Lake, config: RetrievalConfig, local: Path) -> dict[str, float]:
    """The same lists by Spark SQL, from events and the ids that the build gave; checked against the build's."""
    folder = lake.scratch("spark-sql")
    shutil.rmtree(folder)
    rules, as_of = config.graph, DS + timedelta(days=1)
    ids = lake.read("node_ids").drop("ds")
    with measured(lake.folder, local) as cost:
        events = lake.read("events").where(F.col("ds") == F.lit(DS))
        lists = adjacency(events, ids, as_of, rules.half_life_days, rules.max_neighbours)
        lists.write.parquet(str(folder))
    try:
        _check_equal(lake, folder)
    finally:
        shutil.rmtree(folder)
    named = asdict(cost)
    return {
        "seconds": named["seconds"],
        "cpu_seconds": named["cpu_seconds"],
        "peak_memory_gib": named["memory"] / 2**30,
        "disk_gb": named["disk"] / 1e9,
    }


def _check_equal(lake: Lake, folder: Path) -> None:
    """Lists have equal lengths and weights; sums of floating point depend on their order, ours do not, so to 1e-5."""
    ours = lake.read("adjacency").select("edge_type", "src", F.col("weights").alias("ours"))
    theirs = lake.spark.read.parquet(str(folder))
    both = ours.join(theirs, on=["edge_type", "src"], how="full")
    worst = F.array_max(F.zip_with("ours", "weights", lambda a, b: F.abs(a - b) / b))
    row = both.select(
        F.count("*").alias("lists"),
        F.sum((F.size("ours") == F.size("weights")).cast("long")).alias("equal"),
        F.max(worst).alias("worst"),
    ).collect()[0]
    say(f"Spark SQL: {row.lists:,} lists, {row.equal:,} of equal length, weights to {row.worst:.1e}")
    if row.lists != row.equal or row.worst > 1e-5:
        raise AssertionError(f"lists differ: {row}")


@contextmanager
def session(cores: int, memory: str) -> Iterator[tuple[SparkSession, Path]]:
    """A Spark session, and the folder that it spills to."""
    local = Path(tempfile.mkdtemp(prefix="bench-scale-"))
    settings = {
        "spark.master": f"local[{cores}]",
        "spark.driver.memory": memory,
        "spark.local.dir": str(local),
        "spark.sql.shuffle.partitions": "64",  # Spark SQL's; ours names its own
    }
    spark = spark_session("bench-scale", overrides=settings)
    try:
        yield spark, local
    finally:
        spark.stop()
        shutil.rmtree(local, ignore_errors=True)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What benchmarks of these graphs are asked with."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--edges", default="1e7", help="events of the largest graph")
    parser.add_argument("--folder", default=str(ROOT / "bench" / "scale"), help="where events are kept")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", default="6g", help="of the Spark driver")
    parser.add_argument("--force", action="store_true", help="also what the estimate says does not fit")
    return parser


def say(text: str) -> None:
    """One line on stderr."""
    print(f"bench-scale  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
