"""Spilled sums -> ``edges`` and ``adjacency``: the second half of a graph's build.

Whole pairs of a part give, at each instant, the part's strongest targets of each source, in both directions; the top of
the parts' tops is the node's list, for parts hold different targets of a source. No list is longer than M times the
number of parts before it is cut, whatever the node's degree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.pipelines.retrieval.graph import kernel
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan, micros
from roilake.pipelines.retrieval.graph.spill import Clock, files_of, read_part, write_parts

Tables = Iterator[tuple[str, pa.Table]]


def aggregate(plan: Plan, stream: tuple[str, str], part: int) -> Tables:
    """Sum up one part of a stream; spill its lists, and give rows of ``edges`` when sums are timed."""
    clock, key, cuts = Clock(), plan.own.key(stream), plan.own.cuts
    runs = clock.timed("read", _runs, plan, stream, part)
    if not runs:
        return
    records = clock.timed("sort", kernel.gather, runs, plan.width, key)
    del runs
    if plan.compacting:
        clock.timed("compact", _compact, plan, stream, part, records)
    for now, cut in enumerate(cuts.find(micros(plan.instants) - 1).tolist()):
        pairs = clock.timed("pairs", kernel.pairs_at, records, key, cut, cuts.decay(cut), cuts.scale(cut))
        if now == len(plan.instants) - 1:
            del records
        for direction, (kind, target) in enumerate((stream, stream[::-1])):
            ends = (pairs.source_E, pairs.target_E)
            source_E, target_E = ends[::-1] if direction else ends
            arguments = (source_E, target_E, pairs.weight_E, plan.nodes[kind], plan.max_neighbours, plan.parts)
            lists = clock.timed("lists", kernel.spill_lists, *arguments)
            folder = plan.folder / "lists" / f"{kind}_{target}" / str(now)
            clock.timed("write", write_parts, folder / f"{'_'.join(stream)}-{direction}-{part:05d}", *lists)
            if plan.timed and len(source_E):
                yield "edges", _edges(plan, f"{kind}_{target}", now, source_E, target_E, pairs)
    clock.save(plan.folder / "clock" / f"sum-{'_'.join(stream)}-{part:05d}.json")


def merge(plan: Plan, part: int) -> Tables:
    """Rows of ``adjacency`` of all sources of one part."""
    clock = Clock()
    kinds = dict.fromkeys("_".join(way) for stream in STREAMS for way in (stream, stream[::-1]))
    for now in range(len(plan.instants)):
        tables = []
        for edge_type in sorted(kinds):
            folder = plan.folder / "lists" / edge_type / str(now)
            blocks = clock.timed("read", _blocks, folder, part, plan.parts)
            if blocks:
                lists = clock.timed("merge", kernel.merge_lists, blocks, plan.max_neighbours)
                tables.append(_adjacency(plan, edge_type, now, lists))
        if tables:
            yield "adjacency", pa.concat_tables(tables)
    clock.save(plan.folder / "clock" / f"merge-{part:05d}.json")


def _runs(plan: Plan, stream: tuple[str, str], part: int) -> list[tuple[kernel.Bytes, kernel.Layout]]:
    """What the build and earlier nights have spilled of a part."""
    found = []
    for some in (plan.own, *plan.snapshots):
        layout = plan.layout(some, stream)
        files = files_of(some.folder / "_".join(stream))
        found += [(run, layout) for file in files if len(run := read_part(file, part, plan.parts))]
    return found


def _compact(plan: Plan, stream: tuple[str, str], part: int, records: kernel.Words) -> None:
    run = kernel.encode(records)
    offsets = np.where(np.arange(plan.parts + 1) > part, len(run), 0)
    write_parts(plan.compacted / "_".join(stream) / f"{part:05d}", run, offsets)


def _blocks(folder: Path, part: int, parts: int) -> list[NDArray[np.uint8]]:
    blocks = (read_part(file, part, parts) for file in files_of(folder))
    return [block for block in blocks if len(block)]


def _adjacency(plan: Plan, edge_type: str, now: int, lists: kernel.Lists) -> pa.Table:
    neighbours, weights = (pa.ListArray.from_arrays(lists.starts, part) for part in (lists.ids, lists.weights))
    columns = {"src": pa.array(lists.source), "neighbours": neighbours, "weights": weights}
    return _labelled(plan, edge_type, now, columns)


def _edges(
    plan: Plan, edge_type: str, now: int, source_E: kernel.Ids, target_E: kernel.Ids, pairs: kernel.Pairs
) -> pa.Table:
    time = pa.timestamp("us", "UTC")
    columns = {"src": pa.array(source_E), "dst": pa.array(target_E), "weight": pa.array(pairs.weight_E)}
    columns["first_time"], columns["last_time"] = (pa.array(t).cast(time) for t in (pairs.first_E, pairs.last_E))
    return _labelled(plan, edge_type, now, columns)


def _labelled(plan: Plan, edge_type: str, now: int, columns: dict[str, pa.Array]) -> pa.Table:
    rows = len(columns["src"])
    labels: Iterable[tuple[str, pa.Scalar]] = (
        ("ds", pa.scalar(plan.ds)), ("as_of", pa.scalar(plan.instants[now])), ("edge_type", pa.scalar(edge_type))
    )  # fmt: skip
    return pa.table({name: pa.repeat(value, rows) for name, value in labels} | columns)
