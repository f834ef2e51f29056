"""Regions of interest on the graphs of ``bench_scale``: interest vectors and requests in, ``rois`` out, by both plans,
whose rows must be equal. The last stdout line is one JSON object.

``python -m tests.benchmarks.bench_scale_rois --edges 1e8 --requests 1e6``. The graph is the one that ``bench_scale``
left in --folder; where there is none, events are expanded and it is built. Not measured, and made up: vectors are
random ones (32 coordinates in 1/127ths), a request is a random user with a random query, so that memory is read all
over. Trees have two hops of fan-out 10 x 5 (60 slots): below a request 10 of the items that the user had before the end
of the night (of his newest 200 events), and 5 users of each, below
an item 10 users and 5 items of each. Timed is the job ``build_rois``, laying out the store or the buckets included, in
a session that has run it on a graph of 100,000 events before.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.retrieval import build_rois
from roilake.lake import TABLES, Lake, Run, count_by
from roilake.pipelines.retrieval.config import NODE_TYPES, RetrievalConfig
from roilake.runtime.registry import load_config
from tests.benchmarks import expand_events
from tests.benchmarks.bench_scale import DS, ROOT, arguments, build, say, scale_folder, scale_lake, session
from tests.benchmarks.measuring import measured
from tests.benchmarks.room import check_room

AS_OF = DS + timedelta(days=1)
PLANS = ("local", "shuffled")
DIM, WARM_UP = 32, 100_000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--requests", default="1e5")
    args = parser.parse_args()
    edges, requests = expand_events.parse_edges(args.edges), expand_events.parse_edges(args.requests)
    if not args.force and not (scale_folder(edges, Path(args.folder)) / "adjacency").exists():
        check_room(edges, Path(args.folder))
    config = load_config(ROOT / "conf" / "nights" / "retrieval" / "expanded.yaml", "retrieval")
    with session(args.cores, args.memory) as (spark, local):
        figures = measure(spark, config, edges, requests, Path(args.folder), local)
    print(json.dumps({**figures, "cores": args.cores, "load_average": round(os.getloadavg()[0], 1)}), flush=True)


def measure(
    spark: SparkSession,
    config: RetrievalConfig,
    edges: int,
    requests: int,
    folder: Path,
    local: Path,
    *,
    warm_up: int | None = WARM_UP,
) -> dict[str, object]:
    """All figures, by name."""
    if warm_up:
        _run(_graph(spark, config, warm_up, folder, local), config, 1_000, local)
    lake = _graph(spark, config, edges, folder, local)
    runs = _run(lake, config, requests, local)
    cores = spark.sparkContext.defaultParallelism
    rates = {plan: run["rois"] / run["seconds"] / cores for plan, run in runs.items()}
    lists = count_by(lake, "adjacency", lake.version("adjacency"), ["edge_type"], filters={"ds": DS})
    return {
        "rois_per_second_per_core": round(rates["local"], 1),
        "rois_per_second_per_core_shuffled": round(rates["shuffled"], 1),
        "events": edges,
        "requests": requests,
        "nodes": _nodes(lake),
        "lists": {kind: count for (kind,), count in lists.items()},
        "plans": runs,
    }


def _graph(spark: SparkSession, config: RetrievalConfig, edges: int, folder: Path, local: Path) -> Lake:
    """The lake of ``bench_scale`` with that many events and their graph."""
    lake = scale_lake(spark, config, edges, folder)
    if not lake.exists("adjacency"):
        build(lake, config, local)
    return lake


def _run(lake: Lake, config: RetrievalConfig, requests: int, local: Path) -> dict[str, dict[str, Any]]:
    """The job by each plan, after vectors and requests were made."""
    nodes = _nodes(lake)
    run = Run("bench", "retrieval", DS, "bench", "-", "-")
    rng = np.random.Generator(np.random.Philox(0))
    lake.write("interest_vectors", _vectors(rng, nodes), where={"ds": DS}, run=run)
    lake.write("requests", _requests(rng, requests, nodes), where={"ds": DS}, run=run)
    found, sums = {}, set()
    for plan in PLANS:
        with measured(lake.folder, local) as cost:
            result = build_rois.run(lake, _with_plan(config, plan), DS)
        found[plan] = {
            "rois": result.rows_out,
            "seconds": round(result.seconds, 1),
            "cpu_seconds": round(cost.cpu_seconds, 1),
            "cores_busy": round(cost.cpu_seconds / cost.seconds / lake.spark.sparkContext.defaultParallelism, 2),
            "peak_memory_gib": round(cost.memory / 2**30, 2),
            "disk_gb": round(cost.disk / 1e9, 2),
            "bytes_per_roi": result.details["bytes_per_roi"],
            "store_bytes": result.details["store_bytes"],
            "why": result.details["why"],
        }
        rows = lake.read("rois", version=result.outputs["rois"])
        sums.add(_checksum(rows))
        say(f"{plan}: {json.dumps(found[plan])}")
    if len(sums) != 1:
        raise AssertionError(f"rows of the plans differ: {sums}")
    return found


def _checksum(rows: DataFrame) -> tuple[int, ...]:
    """Number of rows, of filled places, and sums of both halves of the rows' hashes, whatever their order."""
    filled = F.expr("size(filter(neighbours, n -> n >= 0))").alias("filled")
    hashed = rows.select(F.xxhash64(*rows.columns).alias("hash"), filled)
    halves = F.col("hash").bitwiseAND(0xFFFFFFFF), F.shiftrightunsigned("hash", 32)
    return tuple(hashed.select(F.count("*"), F.sum("filled"), *map(F.sum, halves)).collect()[0])


def _with_plan(config: RetrievalConfig, plan: str) -> RetrievalConfig:
    roi = {
        "plan": plan,
        "request_hops": [{"user_item": 10}, {"item_user": 5}],
        "item_hops": [{"item_user": 10}, {"user_item": 5}],
    }
    return RetrievalConfig.model_validate(config.model_dump() | {"roi": roi, "interest": {"dim": DIM}})


def _nodes(lake: Lake) -> dict[str, int]:
    found = count_by(lake, "node_ids", lake.version("node_ids"), ["node_type"], filters={})
    return {kind: found[(kind,)] for kind in NODE_TYPES}


def _vectors(rng: np.random.Generator, nodes: dict[str, int]) -> pa.Table:
    count = sum(nodes.values())
    coordinates = rng.integers(-127, 128, count * DIM, dtype=np.int8).astype(np.float32) / 127
    columns = {
        "ds": pa.repeat(pa.scalar(DS), count),
        "as_of": pa.repeat(pa.scalar(AS_OF), count),
        "node_type": pa.concat_arrays([pa.repeat(kind, number) for kind, number in nodes.items()]),
        "id": pa.array(np.concatenate([np.arange(number, dtype=np.int32) for number in nodes.values()])),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(coordinates), DIM).cast(pa.list_(pa.float32())),
        "norm": pa.repeat(pa.scalar(1.0, pa.float32()), count),
        "degree": pa.repeat(pa.scalar(1, pa.int32()), count),
    }
    return pa.table(columns, schema=TABLES["interest_vectors"].arrow_schema)


def _requests(rng: np.random.Generator, count: int, nodes: dict[str, int]) -> pa.Table:
    columns = {
        "ds": pa.repeat(pa.scalar(DS), count),
        "split": pa.repeat("serve", count),
        "as_of": pa.repeat(pa.scalar(AS_OF), count),
        "request_id": pa.array(rng.permutation(count)),
        **{kind: pa.array(rng.integers(0, number, count, dtype=np.int32)) for kind, number in nodes.items()},
        "label": pa.repeat(pa.scalar(1.0, pa.float32()), count),
        "time": pa.repeat(pa.scalar(datetime.combine(AS_OF, time.min, UTC), pa.timestamp("us", "UTC")), count),
        "event_id": pa.array(map(str, range(count))),
        "known_user": pa.repeat(True, count),
    }
    names = TABLES["requests"].names
    return pa.table({name: columns[name] for name in names}, schema=TABLES["requests"].arrow_schema)


if __name__ == "__main__":
    main()
