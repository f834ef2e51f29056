"""The cost of a night before it runs, by step: what a pipeline says itself, or what earlier nights of the lake have
shown."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from roilake.config import NightConfig
from roilake.estimate.rates import Measured, Rate
from roilake.lake import Lake
from roilake.runtime.pipeline import Pipeline, load
from roilake.runtime.registry import find

NIGHTS = 14
"""Earlier nights that rates are measured on."""
UNKNOWN = Rate(5.0, 1e-4, 50.0, 0.0, 3e9, 0.0, "a guess: no earlier night of this lake has run it")
START = 8.0
"""Seconds until a process's first step works, where no night has shown it."""
_COLUMNS = ("ds", "step", "status", "rows_in", "rows_out", "seconds", "bytes", "details")
RunRow = dict[str, Any]


@dataclass(frozen=True)
class PlannedStep:
    """``rows`` as the step will count its rows in, ``work`` what its rate is of; ``memory`` is resident in all
    processes, ``disk`` the bytes that the night has added to the disk when the step has most there."""

    step: str
    rows: int
    work: int
    bytes: int
    memory: int
    seconds: float
    disk: int
    origin: str


@dataclass(frozen=True)
class Estimate:
    """Of a whole night. ``start`` is what a process takes before its first step works, in seconds, which are in no
    step's. ``notes`` are lines for a person."""

    pipeline: str
    ds: date
    steps: tuple[PlannedStep, ...]
    free_disk: int
    free_memory: int
    start: float = field(default=START, kw_only=True)

    @property
    def seconds(self) -> float:
        """Of all steps in one process."""
        return self.start + sum(step.seconds for step in self.steps)

    @property
    def seconds_apart(self) -> float:
        """Of all steps, each in a process of its own."""
        return self.seconds + self.start * (len(self.steps) - 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """None, unless a pipeline's own estimate has some."""
        return ()

    def to_object(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **asdict(self),
            "ds": str(self.ds),
            "seconds": round(self.seconds, 1),
            "seconds_apart": round(self.seconds_apart, 1),
        }


def estimate_night(lake: Lake, config: NightConfig, ds: date) -> Estimate:
    """What each step of the night would take; reads only, without Spark."""
    pipeline = find(config.pipeline)
    found: Estimate = load(pipeline.estimate)(lake, config, ds) if pipeline.estimate else _from_runs(lake, pipeline, ds)
    runs = (run for night in earlier_runs(lake, pipeline.name, ds).values() for run in night.values())
    starts = [run["details"]["start_seconds"] for run in runs if "start_seconds" in run["details"]]
    return replace(found, start=round(sum(starts) / len(starts), 1)) if starts else found


def _from_runs(lake: Lake, pipeline: Pipeline, ds: date) -> Estimate:
    """Each step at the rows of the last night that ran it, at the rate of those that did."""
    runs = earlier_runs(lake, pipeline.name, ds)
    steps, disk = [], 0.0
    for name in pipeline.step_names:
        ran = [found[name] for _, found in sorted(runs.items()) if name in found]
        rows = ran[-1]["rows_in"] if ran else 0
        rate = UNKNOWN.fitted([measured(run, run["rows_in"]) for run in ran])
        disk += rate.bytes * rows
        steps.append(planned(name, rate, rows, rows, disk=disk))
    return Estimate(pipeline.name, ds, tuple(steps), free_disk(lake), psutil.virtual_memory().available)


def planned(
    step: str, rate: Rate, rows: float, work: float, *, disk: float, held: float = 0.0, written: float = 0.0
) -> PlannedStep:
    """A step of this work at this rate; ``held`` is memory and ``written`` bytes beside what the rate tells."""
    return PlannedStep(
        step=step,
        rows=round(rows),
        work=round(work),
        bytes=round(rate.bytes * work + written),
        memory=round(rate.memory(work) + held),
        seconds=round(rate.seconds(work), 1),
        disk=round(disk),
        origin=rate.origin,
    )


def measured(run: RunRow, work: float) -> Measured:
    """What a run has shown of its step's rate."""
    return Measured(work, run["seconds"], run["bytes"], run["details"].get("peak_memory", 0))


def earlier_runs(lake: Lake, pipeline: str, ds: date) -> dict[date, dict[str, RunRow]]:
    """Runs that ended well, by night and step: those of the pipeline's last nights before ``ds``, or else of ``ds``."""
    if not lake.exists("runs"):
        return {}
    version = lake.version("runs")
    files = lake.active_files("runs", version, pipeline=pipeline)
    nights = sorted({date.fromisoformat(file.partition["ds"]) for file in files if file.rows})
    before = [night for night in nights if night < ds][-NIGHTS:]
    chosen = before or [night for night in nights if night == ds]
    found: dict[date, dict[str, RunRow]] = {night: {} for night in chosen}
    where = {"pipeline": pipeline, "ds": chosen}
    rows = lake.to_arrow("runs", version, filters=where, columns=_COLUMNS).to_pylist() if chosen else []
    for row in rows:
        if row["status"] == "succeeded":
            details = json.loads(row["details"] or "{}")
            seconds = row["seconds"] - details.get("start_seconds", 0.0)  # of its work, whichever way it was started
            found[row["ds"]][row["step"]] = {**row, "seconds": seconds, "details": details}
    return found


def free_disk(lake: Lake) -> int:
    """Bytes free where the lake lies, or would."""
    there: Path = next(path for path in (lake.folder, *lake.folder.parents) if path.exists())
    return shutil.disk_usage(there).free
