"""The distributions of all nodes of a graph: by Spark's tasks for graphs of any size, or here for small ones."""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.lake import Make
from roilake.pipelines.node_labels.distribution.layout import Keys, Run, keys_of, lay_out, spill
from roilake.pipelines.node_labels.distribution.rounds import surround
from roilake.pipelines.node_labels.distribution.rows import Rows, load
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.surroundings import Distribution, Range, Surroundings, cut
from roilake.pipelines.node_labels.tables import NODE_DISTRIBUTIONS

_NODE = 64
"""A node's work, in edges: what its warping takes."""
_RANGE = 1_000_000
"""Work that is worth a task of its own, in edges."""
_GROUP = 65_536
"""Rows that a task holds and writes at a time."""


@dataclass(frozen=True)
class Distributed:
    """What ``Recorder.write_from_tasks(["node_distributions"], tasks, make(ds))`` takes, while the folder is there."""

    tasks: DataFrame
    ranges: Sequence[Range]
    surroundings: Surroundings

    def make(self, ds: date) -> Make:
        """Rows of the night ``ds`` of a task's range."""
        ranges, surroundings = self.ranges, self.surroundings

        def rows(tasks: pa.Table) -> Iterator[tuple[str, pa.Table]]:
            for task in tasks["id"].to_pylist():
                first, last = ranges[task]
                for start, end in cut(first, last, _GROUP):
                    yield NODE_DISTRIBUTIONS.name, surroundings.table(start, end, ds)

        return rows


def distribute(
    spark: SparkSession, edges: DataFrame, features: DataFrame, nodes: int, rules: DistributionRules, folder: Path
) -> Distributed:
    """Distributions of the nodes 0 to ``nodes`` - 1: see ``surroundings``. ``edges`` (src int, dst int) may come in any
    order, one way or both, doubled, or be loops, which count for nothing; ``features`` are (node int, features
    array<int>). The ``folder`` is empty and on a disk that all tasks see. Raises LakeError for a node out of range."""
    each, cores = partial(_in_tasks, spark), spark.sparkContext.defaultParallelism
    lay_out_graph(spark, edges, features, nodes, folder)
    offsets_N1 = load(folder / "neighbours" / "offsets.npy")
    surroundings = surround(folder, rules, _ranges(offsets_N1, cores), each)
    ranges = _ranges(offsets_N1, 4 * cores)  # the rows are most of the work: no core waits long for another's last one
    return Distributed(spark.range(0, len(ranges), 1, len(ranges)), ranges, surroundings)


def lay_out_graph(spark: SparkSession, edges: DataFrame, features: DataFrame, nodes: int, folder: Path) -> None:
    """``neighbours`` and ``features`` (see ``Rows``) below ``folder``, of what ``distribute`` takes."""
    each, cores = partial(_in_tasks, spark), spark.sparkContext.defaultParallelism
    ends = edges.select("src", "dst").where("src != dst")
    owned = features.select("node", F.array_compact("features").alias("features")).where("features is not null")
    for name, rows, pairs in (("neighbours", ends, _both_ways), ("features", owned, _flat)):
        lay_out(folder / name, nodes, _spilled(rows, pairs, folder / name), each, cores=cores)


def distribute_in_memory(
    edge_2E: NDArray[np.integer], features: Rows, nodes: int, rules: DistributionRules
) -> Distribution:
    """The same bits, in this process and on one range. Rows of ``features`` and edges may come as to ``distribute``."""
    src, dst = edge_2E[:, edge_2E[0] != edge_2E[1]]
    owner = np.repeat(np.arange(nodes), np.diff(features.offsets_N1))
    pairs = {"neighbours": [keys_of(src, dst), keys_of(dst, src)], "features": [keys_of(owner, features.ids_E)]}
    with tempfile.TemporaryDirectory() as folder:
        for name, keys in pairs.items():
            lay_out(Path(folder, name), nodes, list(spill(Path(folder, name), 0, keys)), _here, cores=1)
        return surround(Path(folder), rules, [(0, nodes)], _here).rows(0, nodes)


def _here(work: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    return [work(thing) for thing in things]


def _in_tasks(spark: SparkSession, work: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Each of the things in a task of its own; a single one, which is small, costs less here than its task's start."""
    if len(things) < 2:
        return _here(work, things)
    return spark.sparkContext.parallelize(things, len(things)).map(work).collect()


def _spilled(rows: DataFrame, pairs: Callable[[pa.RecordBatch], Keys], folder: Path) -> list[Run]:
    """Sort the pairs of rows in runs."""

    def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None  # only tasks come here
        for run in spill(folder, context.partitionId(), map(pairs, batches)):
            yield pa.RecordBatch.from_pylist([run._asdict()])

    written = rows.mapInArrow(task, "file string, keys long, sample array<long>").collect()
    return [Run(**row.asDict()) for row in written]


def _both_ways(edges: pa.RecordBatch) -> Keys:
    src, dst = (column.to_numpy() for column in edges.columns)
    return np.concatenate([keys_of(src, dst), keys_of(dst, src)])


def _flat(owned: pa.RecordBatch) -> Keys:
    node, features = owned.columns
    return keys_of(np.repeat(node.to_numpy(), pc.list_value_length(features)), features.flatten().to_numpy())


def _ranges(offsets_N1: NDArray[np.int64], most: int) -> list[Range]:
    """Ranges of about equal work, which goes by edges and nodes."""
    nodes = len(offsets_N1) - 1

    def work(node: int) -> int:
        return int(offsets_N1[node]) + _NODE * node

    count = max(1, min(most, work(nodes) // _RANGE))
    bounds = [bisect_left(range(nodes), work(nodes) * part / count, key=work) for part in range(count)]
    return list(zip(bounds, [*bounds[1:], nodes], strict=True))
