"""The stages of a graph's build as Spark jobs, a task for some slices of events or for a part of the pairs.

Spark starts, retries and bounds the tasks; rows do not pass through the JVM. What tasks spill lies in a folder of the
lake, on a disk that all of them share, and goes when the build ends, well or not."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.lake import Make
from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.graph.histories import user_rows
from roilake.pipelines.retrieval.graph.keys import KeyIndex
from roilake.pipelines.retrieval.graph.neighbour_lists import aggregate, merge
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan
from roilake.pipelines.retrieval.graph.scan import Slice, seen_keys
from roilake.pipelines.retrieval.graph.spill import files_of, spill_slices

PART_EVENTS = 16_000_000
"""Events whose pairs of one stream make up a part: what a task sums up in memory, some 70 bytes each."""
SLICE_EVENTS = 8_000_000
HUB_EVENTS = PART_EVENTS // 8
"""A node with more events than this is spread over several parts."""

_SEEN = "node_type string, key string, first_time timestamp, events long"


def count_parts(events: int, cores: int) -> int:
    """As many parts as memory asks for, and as keep all cores busy."""
    return cores * -(-events // (PART_EVENTS * cores))


def slice_events(events: int, cores: int) -> int:
    """Rows of a task that reads events: all cores busy, but no task below a few seconds' work."""
    return min(SLICE_EVENTS, max(-(-events // (4 * cores)), 250_000))


def numbered_tasks(spark: SparkSession, count: int) -> DataFrame:
    """Row i alone in partition i."""
    return spark.range(0, count, 1, count)


def seen(spark: SparkSession, tasks: Sequence[Sequence[Slice]], parts: int) -> DataFrame:
    """(node_type, key, first_time, events) of all keys in events. A key is sent on once a task: few, long tasks."""
    if not tasks:
        return spark.createDataFrame([], _SEEN)
    count = min(len(tasks), 4 * spark.sparkContext.defaultParallelism)
    long = [[part for task in some for part in tasks[task]] for some in np.array_split(range(len(tasks)), count)]

    def scan(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for task in _numbers(batches):
            for table in seen_keys(long[task]):
                yield from table.combine_chunks().to_batches(max_chunksize=200_000)

    found = numbered_tasks(spark, count).mapInArrow(scan, _SEEN)
    return _merged(found.repartition(2 * parts, "node_type", "key"))


def with_seen(seen: DataFrame, folders: Sequence[str]) -> DataFrame:
    """``seen`` and what earlier builds have left of theirs."""
    if not folders:
        return seen
    return _merged(seen.unionByName(seen.sparkSession.read.schema(_SEEN).parquet(*folders)))


def _merged(seen: DataFrame) -> DataFrame:
    sums = F.min("first_time").alias("first_time"), F.sum("events").alias("events")
    return seen.groupBy("node_type", "key").agg(*sums)


def write_keys(folder: Path, ids: pa.Table) -> dict[str, int]:
    """Lay out the key indexes; the number of nodes of each type."""
    counts = {}
    for kind in NODE_TYPES:
        of_type = ids.filter(pc.equal(ids["node_type"], kind)).sort_by("id")
        KeyIndex.write(folder / "keys" / kind, of_type["key"])
        counts[kind] = len(of_type)
    return counts


def write_spread(plan: Plan, hubs: Iterable[tuple[str, int, int]]) -> None:
    """Note for each hub (node type, id, events) over how many parts its pairs are spread."""
    by_kind: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for kind, node, events in hubs:
        by_kind[kind].append((node, min(-(-events // HUB_EVENTS), 255)))
    for kind, some in by_kind.items():
        spread = np.ones(plan.nodes[kind], np.uint8)
        for node, parts in some:
            spread[node] = parts
        np.save(plan.folder / f"spread-{kind}.npy", spread)


def extend_spread(plan: Plan, folder: Path) -> None:
    """Spread hubs as in ``folder``; nodes that it does not know are none."""
    for file in folder.glob("spread-*.npy"):
        spread, nodes = np.load(file), plan.nodes[file.stem.removeprefix("spread-")]
        np.save(plan.folder / file.name, np.append(spread, np.ones(nodes - len(spread), np.uint8)))


def spill(spark: SparkSession, plan: Plan, tasks: Sequence[Sequence[Slice]]) -> None:
    """Sum up the pairs of new events and sort the night's own ones by user, slice by slice."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for task in _numbers(batches):
            spill_slices(plan, task, tasks[task])
        yield from ()

    if tasks:
        numbered_tasks(spark, len(tasks)).mapInArrow(run, "id long").collect()


def aggregating(plan: Plan, stream: tuple[str, str]) -> Make:
    """What the tasks that sum up a stream give: see ``aggregate``."""
    return lambda rows: aggregate(plan, stream, rows["id"][0].as_py())


def merging(plan: Plan) -> Make:
    """What the tasks that merge lists give: see ``merge``."""
    return lambda rows: merge(plan, rows["id"][0].as_py())


def writing_histories(plan: Plan, ranges: Sequence[tuple[int, int]]) -> Make:
    """What the tasks that write ranges of users give: see ``user_rows``."""
    return lambda rows: user_rows(plan, *ranges[rows["id"][0].as_py()])


def spilled_bytes(plan: Plan) -> int:
    """Of all runs that the build has spilled."""
    return sum(f.stat().st_size for stream in STREAMS for f in files_of(plan.own.folder / "_".join(stream)))


def drop_runs(plan: Plan, stream: tuple[str, str]) -> None:
    """Delete a stream's runs."""
    shutil.rmtree(plan.own.folder / "_".join(stream), ignore_errors=True)


def task_seconds(plan: Plan) -> dict[str, float]:
    """Where the tasks' time went: seconds by stage and step, summed over tasks."""
    total: dict[str, float] = defaultdict(float)
    for file in files_of(plan.folder / "clock"):
        for step, seconds in json.loads(file.read_text()).items():
            total[f"{file.name.split('-')[0]}.{step}"] += seconds
    return {name: round(seconds, 2) for name, seconds in sorted(total.items())}


def _numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    for batch in batches:
        yield from batch["id"].to_pylist()
