"""The graph as of each window's start -> ``interest_vectors``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import safe_open

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import TABLES, Lake, Make
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.retrieval.config import NODE_TYPES, RetrievalConfig
from roilake.pipelines.retrieval.graph import LastModel, last_model, night_windows, plan_slices
from roilake.pipelines.retrieval.graph.blocks import ROWS, Blocks, Run, lay_out
from roilake.pipelines.retrieval.graph.build import write_keys
from roilake.pipelines.retrieval.graph.interests import carry, fit, normalise, unit_rows
from roilake.pipelines.retrieval.graph.keys import KeyIndex
from roilake.pipelines.retrieval.graph.nodes import node_masks
from roilake.pipelines.retrieval.graph.plan import micros
from roilake.pipelines.retrieval.graph.scan import Slice, read_events
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

ONE_WAY = ("user_query", "user_item", "query_item")
RESOLUTION = np.float32(2.0**-10)
"""Coordinates are kept in multiples of this: parquet then takes 11 bits for each instead of 32, and the dot product's
AUC is the same to .0001 (as with int8, see ``retrieval.roi.store``)."""


@dataclass(frozen=True)
class Night:
    """What the tasks of a night need. Vectors of instant i are dense matrix ``vectors.i``, events before it row i of
    ``events``."""

    ds: date
    instants: tuple[date, ...]
    starts: tuple[int, ...]  # number of the first node of each type, and of all nodes
    blocks: Blocks

    @property
    def first(self) -> dict[str, int]:
        return dict(zip(NODE_TYPES, self.starts, strict=False))


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Vectors are fitted to the graph on a first night, and carried over from the last published model
    after it, if any of its models makes vectors. Nodes without an event before a window's start have no row for it."""
    from roilake.pipelines.retrieval.models import makes_interests  # here, so that the tasks need not load torch

    with recorded(lake, config, ds, "embed_interests") as record, scratch_folder(lake.scratch("interests")) as folder:
        instants = tuple(sorted({window.as_of for window in night_windows(lake, config, ds)}))
        starts = tuple(_number_nodes(record, ds, folder))
        night = Night(ds, instants, starts, Blocks(folder, starts[-1]))
        last = last_model(lake, config, ds)
        if last is not None and not makes_interests(last.config["kind"]):
            last = None
        record.rows_in = _count_events(record, night)
        run_blocks = night.blocks.runner(lake.spark)
        if last is None:
            _fit(record, config, night, run_blocks)
        else:
            _carry(record, last, night, run_blocks)
        record.details["source"] = f"{last.name}@{last.night.ds}" if last else "graph"
        blocks = lake.spark.range(0, len(night.blocks.numbers), 1, max(1, len(night.blocks.numbers)))
        record.write_from_tasks(("interest_vectors",), blocks, night_rows(night))
    return record.result


def _number_nodes(record: Recorder, ds: date, folder: Path) -> list[int]:
    """Lay out the index of keys; number of the first node of each type, and of all."""
    # Ids of later nights and of other pipelines too: only all of them together are dense.
    write_keys(folder, record.lake.to_arrow("node_ids", record.pin("node_ids"), columns=["node_type", "key", "id"]))
    masks = node_masks(record.lake, record.pin("nodes"), ds)
    return [0, *itertools.accumulate(len(masks[kind]) for kind in NODE_TYPES)]


def _count_events(record: Recorder, night: Night) -> int:
    """Events of each node before each instant, into ``events``: [instants, R] a block. Returns their sum.

    A task per core, for each holds a count for every node and instant."""
    files = record.lake.active_files("events", record.pin("events"))
    known = [file for file in files if file.partition["ds"] <= str(night.ds)]
    spark = record.lake.spark.sparkContext
    tasks = plan_slices([f.path for f in known], -(-sum(f.rows for f in known) // spark.defaultParallelism) or 1)
    counted = spark.parallelize(list(enumerate(tasks)), max(1, len(tasks))).map(partial(_count, night)).collect()
    night.blocks.runner(record.lake.spark)(partial(_add_counts, night, len(tasks)), night.blocks.numbers)
    return sum(counted)


def _count(night: Night, task: tuple[int, Sequence[Slice]]) -> int:
    """Events of each node between two instants, of some slices of the events."""
    number, slices = task
    blocks = night.blocks
    index = {kind: KeyIndex(blocks.folder / "keys" / kind) for kind in NODE_TYPES}
    count = np.zeros((len(night.instants) + 1, blocks.num_nodes), np.int32)
    for events in itertools.chain.from_iterable(read_events(part, NODE_TYPES) for part in slices):
        between_N = np.searchsorted(micros(night.instants), events.time_N, side="right")
        for kind, start, end in zip(NODE_TYPES, night.starts, night.starts[1:], strict=False):
            column = events.columns[kind]
            node_N = np.append(index[kind].find(column.keys), np.int32(-1))[column.codes_N]
            known_N = (node_N >= 0) & (node_N < end - start)
            np.add.at(count, (between_N[known_N], start + node_N[known_N]), 1)
    for block in blocks.numbers:
        blocks.save(f"events-{number}", block, count[:, block * ROWS : (block + 1) * ROWS])
    return int(count.sum(dtype=np.int64))


def _add_counts(night: Night, tasks: int, block: int) -> None:
    count = np.zeros((len(night.instants) + 1, night.blocks.rows(block)), np.int64)
    for number in range(tasks):
        count += night.blocks.load(f"events-{number}", block)
    night.blocks.save("events", block, np.cumsum(count, axis=0)[: len(night.instants)])


def _fit(record: Recorder, config: RetrievalConfig, night: Night, run_blocks: Run) -> None:
    """Vectors [N, D] of each instant in time order, each started from and turned onto those of the instant before."""
    before = None
    for number, instant in enumerate(night.instants):
        files = _adjacency(record, night, instant)
        name = f"vectors.{number}"
        if not files:
            run_blocks(partial(_save_zeros, night, name, config.interest.dim), night.blocks.numbers)
            continue
        lay_out(night.blocks, run_blocks, files, night.first, ONE_WAY)
        normalise(night.blocks, run_blocks, config.interest.degree_exponent)
        fit(night.blocks, run_blocks, config.interest.dim, config.seed, before, name)
        before = name
        record.progress(f"vectors as of {instant}")


def _carry(record: Recorder, last: LastModel, night: Night, run_blocks: Run) -> None:
    known = node_masks(record.lake, last.night.versions["nodes"], last.night.ds)
    for kind in NODE_TYPES:
        np.save(night.blocks.folder / f"known-{kind}.npy", known[kind])
    run_blocks(partial(_save_known, night, _model_vectors(last)), night.blocks.numbers)
    for number, instant in enumerate(night.instants):
        lay_out(night.blocks, run_blocks, _adjacency(record, night, instant), night.first)
        carry(night.blocks, run_blocks, "known", f"vectors.{number}")
        record.progress(f"vectors as of {instant}")


def _adjacency(record: Recorder, night: Night, instant: date) -> list[str]:
    files = files_of(record.lake, "adjacency", record.pin("adjacency"), ds=night.ds, as_of=instant)
    return [file.path for file in files]


def _save_zeros(night: Night, name: str, dim: int, block: int) -> None:
    night.blocks.save(name, block, np.zeros((night.blocks.rows(block), dim), np.float32))


def _model_vectors(last: LastModel) -> Path:
    """The last model's node vectors. Raises LakeError."""
    file = last.folder / "interest.safetensors"
    if not file.exists():
        raise LakeError(f"{file}: is missing, so this night cannot build on that of {last.night.ds}; publish it again")
    return file


def _save_known(night: Night, file: Path, block: int) -> None:
    """The last model's vectors of one block and a column of ones, both 0 for nodes that its night did not know: those
    that are new since, and numbers that were another pipeline's alone."""
    low, high = block * ROWS, block * ROWS + night.blocks.rows(block)
    with safe_open(str(file), "np") as tensors:
        dim = tensors.get_slice(NODE_TYPES[0]).get_shape()[1]
        known = np.zeros((high - low, dim + 1), np.float32)
        for kind, start, end in zip(NODE_TYPES, night.starts, night.starts[1:], strict=False):
            rows, own = (tensors.get_slice(kind), np.load(night.blocks.folder / f"known-{kind}.npy", mmap_mode="r"))
            first, last = max(low, start), min(high, end, start + len(own), start + rows.get_shape()[0])
            if first < last:
                found = own[first - start : last - start, None]
                known[first - low : last - low, :dim] = rows[first - start : last - start] * found
    known[:, dim] = np.abs(known[:, :dim]).sum(axis=1) > 0
    night.blocks.save("known", block, known)


def night_rows(night: Night) -> Make:
    """From block numbers to their rows of ``interest_vectors``, an instant at a time."""

    def make(part: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        for block in part["id"].to_pylist():
            for number in range(len(night.instants)):
                yield "interest_vectors", _rows(night, number, block)

    return make


def _rows(night: Night, number: int, block: int) -> pa.Table:
    """Rows of ``interest_vectors`` of one block of R nodes, those without an event before the instant left out."""
    units_RD, norms_R = unit_rows(night.blocks.load(f"vectors.{number}", block).astype(np.float64))
    degree_R = night.blocks.load("events", block)[number]
    seen = np.flatnonzero((degree_R > 0) & (norms_R > 0))
    nodes = seen + block * ROWS
    kinds = np.searchsorted(night.starts, nodes, side="right") - 1
    flat = pa.array(np.rint(units_RD[seen].ravel() / RESOLUTION) * RESOLUTION, pa.float32())
    table = {
        "ds": pa.repeat(pa.scalar(night.ds), len(seen)),
        "as_of": pa.repeat(pa.scalar(night.instants[number]), len(seen)),
        "node_type": pa.array(np.array(NODE_TYPES)[kinds], pa.string()),
        "id": pa.array(nodes - np.array(night.starts)[kinds], pa.int32()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, units_RD.shape[1]).cast(pa.list_(pa.float32())),
        "norm": pa.array(norms_R[seen], pa.float32()),
        "degree": pa.array(degree_R[seen], pa.int32()),
    }
    return pa.table(table, schema=TABLES["interest_vectors"].arrow_schema)


if __name__ == "__main__":
    main(run, "retrieval")
