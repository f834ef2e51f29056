"""Events -> sums of pairs, spilled as runs: the first half of a graph's build, a task for some slices of events. What
``histories`` are made of is spilled from the same reading.

Each task sorts and sums what it read, and spills one run for each part of a stream; part p of all tasks together holds
whole pairs. Parts are cut by source, so that each of them holds all targets of most of its sources, and few of a
target's sources pass its own top. A hub is spread over several parts by target: no part is much larger than another,
whatever the degrees."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.graph import kernel
from roilake.pipelines.retrieval.graph.histories import spill_events
from roilake.pipelines.retrieval.graph.keys import KeyIndex
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan
from roilake.pipelines.retrieval.graph.scan import Events, Slice, read_events

LEFT_OUT = "left-out"
"""File in a plan's folder: some events lie after its last instant, and are in no sum."""
_HELD = 8_000_000  # events that a task sums up before it spills


def spill_slices(plan: Plan, task: int, slices: Sequence[Slice]) -> None:
    """Sum up the pairs of some slices' new events, and sort the night's own ones by user; spill both, one file for each
    stream, and for ``histories``, and ``_HELD`` events."""
    clock = Clock()
    index = {kind: KeyIndex(plan.folder / "keys" / kind) for kind in NODE_TYPES}
    new: list[dict[str, NDArray]] = []
    own: list[dict[str, NDArray]] = []
    chunk = held = 0
    for part in slices:
        events = read_events(part)
        while (group := clock.timed("scan", next, events, None)) is not None:
            by_id = clock.timed("keys", _by_id, group, index)
            if part.own:
                own.append(by_id)
            if part.new:
                new.append(clock.timed("keys", _with_units, plan, by_id))
            held += len(by_id["time"])
            if held >= _HELD:
                _spill(plan, f"{task:05d}-{chunk:03d}", new, own, clock)
                new, own, held, chunk = [], [], 0, chunk + 1
    _spill(plan, f"{task:05d}-{chunk:03d}", new, own, clock)
    clock.save(plan.folder / "clock" / f"spill-{task:05d}.json")


def _by_id(events: Events, index: Mapping[str, KeyIndex]) -> dict[str, NDArray]:
    """``time``, ids by node type (-1: none), and ``before`` (the item before in the session)."""
    columns: dict[str, NDArray] = {"time": events.time_N}
    for kind in NODE_TYPES:
        column = events.columns[kind]
        columns[kind] = np.append(index[kind].find(column.keys), np.int32(-1))[column.codes_N]
    before = np.append(np.int32(-1), columns["item"][:-1])
    if events.before is not None:
        before[0] = index["item"].find(pa.array([events.before]))[0]
    return columns | {"before": np.where(events.joined_N, before, np.int32(-1))}


def _with_units(plan: Plan, columns: dict[str, NDArray]) -> dict[str, NDArray]:
    """The events with their ``cut`` and ``units`` (see ``TimeCuts``). Those after the last cut are left out, and that
    is noted."""
    cuts = plan.own.cuts
    columns = columns | {"cut": cuts.find(columns["time"])}
    past = columns["cut"] < len(cuts.at_C)
    if not past.all():
        (plan.folder / LEFT_OUT).touch()
        columns = {name: column[past] for name, column in columns.items()}
    return columns | {"units": cuts.units(columns["time"], columns["cut"])}


def _spill(plan: Plan, name: str, new: list[dict[str, NDArray]], own: list[dict[str, NDArray]], clock: Clock) -> None:
    if own:
        clock.timed("histories", spill_events, plan, name, own)
    for stream in STREAMS if new else ():
        records = clock.timed("pairs", _records, plan, stream, new)
        source = plan.spread(stream[0])
        runs = clock.timed("sort", kernel.spill, records, plan.own.key(stream), source, plan.parts)
        clock.timed("write", write_parts, plan.own.folder / "_".join(stream) / name, *runs)


def _records(plan: Plan, stream: tuple[str, str], held: list[dict[str, NDArray]]) -> kernel.Words:
    alike = stream[0] == stream[1]
    ends = ("before", stream[1]) if alike else stream
    rows = sum(len(some["time"]) for some in held)
    records, number = kernel.buffer("records", rows * plan.width).reshape(rows, plan.width), 0
    for some in held:
        contributions = (some[ends[0]], some[ends[1]], some["cut"], some["units"])
        time = some["time"] if plan.timed else None
        number += kernel.fill(*contributions, time, plan.own.key(stream), alike=alike, records_NW=records[number:])
    return records[:number]


def write_parts(file: Path, parts: NDArray[np.uint8], offsets: kernel.Longs) -> None:
    """A file of several parts, written aside and renamed: a task that runs twice leaves one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with aside.open("wb") as out:
        out.write(offsets.tobytes())
        out.write(parts.data)
    os.replace(aside, file)


def read_part(file: Path, part: int, parts: int) -> NDArray[np.uint8]:
    """The bytes of one part of a spilled file of so many parts."""
    start, end = np.fromfile(file, np.int64, 2, offset=8 * part)
    return np.fromfile(file, np.uint8, end - start, offset=8 * (parts + 1) + start)


def files_of(folder: Path) -> list[Path]:
    """Finished files of a folder, which may not be there when nothing was spilled to it."""
    return sorted(file for file in folder.glob("*") if not file.name.startswith("."))


class Clock:
    """Where a task's time went, in seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.seconds))
