"""The cost of each job of a night: its work (``volumes``) at its rate (``rates``)."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psutil

from roilake.estimate.rates import defaults
from roilake.lake import Lake, count_by
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.estimate.past import JOBS, Past, passes, trained_models
from roilake.pipelines.retrieval.estimate.volumes import Events, History, events_in, graph_work, serve_events
from roilake.pipelines.retrieval.events import NODE_TYPES
from roilake.pipelines.retrieval.graph import Window, last_model, plan_windows
from roilake.pipelines.retrieval.graph.incremental import IncrementalAggregates
from roilake.pipelines.retrieval.roi.planner import Choice, decide


@dataclass(frozen=True)
class PlannedJob:
    """``rows`` as the job will count its rows in, ``work`` as ``volumes`` has it; ``memory`` is resident in all
    processes, ``disk`` the bytes that the night has added to the disk when the job has most there."""

    job: str
    rows: int
    work: int
    bytes: int
    memory: int
    seconds: float
    disk: int
    origin: str


@dataclass(frozen=True)
class Estimate:
    """Of a whole night. ``events_known``: the night's events were counted, not guessed."""

    ds: date
    jobs: tuple[PlannedJob, ...]
    roi: Choice
    events: int
    new_events: int
    events_known: bool
    windows: int
    free_disk: int
    free_memory: int

    @property
    def seconds(self) -> float:
        return sum(job.seconds for job in self.jobs)

    def to_object(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "ds": str(self.ds), "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class Counts:
    """Rows that the jobs of a night read, and their work."""

    rows: dict[str, float]
    work: dict[str, float]


def plan_job(lake: Lake, config: RetrievalConfig, ds: date, job: str) -> PlannedJob | None:
    """One job of the night; None for what is no job of a night."""
    if job not in JOBS:
        return None
    return next(planned for planned in plan_night(lake, config, ds).jobs if planned.job == job)


def plan_night(lake: Lake, config: RetrievalConfig, ds: date) -> Estimate:
    """From the lake's tables and runs of other nights, those before ``ds`` where there are any; no Spark."""
    last = last_model(lake, config, ds)
    windows = plan_windows(config.windows, ds, last.train_end if last else None)
    instants = sorted({window.as_of for window in windows})
    events = Events(lake, config.source.events)
    history = events.until(ds, instants[0])
    past = Past.read(lake, events, config, ds, _later(lake, ds, carried=last is not None))
    counts = _counts(lake, config, ds, windows, history, past, warm=last is not None)
    stores, free = int(past.store_bytes_per_event * history.events), psutil.virtual_memory().available
    held = _held(config, stores, _nodes(lake, history, *NODE_TYPES))
    jobs, disk = [], 0.0
    for job, rate in past.rates.items():
        work = counts.work[job]
        written = rate.bytes * work
        high = disk + written + rate.scratch * work
        disk += written + rate.left * work
        jobs.append(
            PlannedJob(
                job=job,
                rows=round(counts.rows[job]),
                work=round(work),
                bytes=round(written),
                memory=round(rate.memory(work) + held.get(job, 0)),
                seconds=round(rate.seconds(work), 1),
                disk=round(high),
                origin=rate.origin,
            )
        )
    return Estimate(
        ds=ds,
        jobs=tuple(jobs),
        roi=decide(config, stores, free),
        events=round(history.events),
        new_events=round(history.new),
        events_known=history.known,
        windows=len(instants),
        free_disk=shutil.disk_usage(next(p for p in (lake.folder, *lake.folder.parents) if p.exists())).free,
        free_memory=free,
    )


def _later(lake: Lake, ds: date, *, carried: bool) -> list[str]:
    """Jobs that build on earlier nights."""
    sums = IncrementalAggregates.of(lake).segments
    return [
        job
        for job, so in (("build_graph", sums and sums[0].ds <= str(ds)), ("embed_interests", carried))
        if so
    ]


def _held(config: RetrievalConfig, stores: int, nodes: float) -> dict[str, float]:
    """What jobs hold of each node, beside what their rates tell of smaller nights: ROI stores, and in each process that
    asks a model the features of two windows (vector, degree and its bucket, a term and a category)."""
    features = 2 * nodes * (4 * config.interest.dim + 32)
    cores = os.cpu_count() or 1
    return {
        "build_rois": stores,
        "train_models": config.training.workers * features,
        "score_requests": (cores + 1) * features,
        "evaluate_models": (cores + 1) * features,
    }


def _counts(
    lake: Lake,
    config: RetrievalConfig,
    ds: date,
    windows: tuple[Window, ...],
    history: History,
    past: Past,
    *,
    warm: bool,
) -> Counts:
    asked = events_in(history, windows, "train", "validation", "test")
    served = past.served * serve_events(history, config, ds)
    instants = {window.as_of for window in windows}
    rows = {
        "ingest_events": history.new,
        "build_graph": history.events,
        "build_requests": asked,
        "embed_interests": 3 * history.events,  # each has a user, a query and an item
        "build_rois": asked + served + _nodes(lake, history, "item") * len(instants),
        "train_models": past.requests * events_in(history, windows, "train", "validation"),
        "score_requests": served,
        "evaluate_models": past.requests * events_in(history, windows, "validation", "test"),
        "publish_night": 0.0,
    }
    times = passes(config, trained_models(config), len(config.models), warm=warm)
    work = {job: count * times.get(job, 1) for job, count in rows.items()}
    graph = graph_work(history, sorted(instants))
    return Counts(rows, work | {"build_graph": graph, "embed_interests": graph})


def _nodes(lake: Lake, history: History, *kinds: str) -> float:
    """Nodes of these types, those of the night left out where it is not ingested."""
    if not lake.exists("node_ids"):
        return sum(defaults().nodes[kind] for kind in kinds) * history.events
    found = count_by(lake, "node_ids", lake.version("node_ids"), ["node_type"], filters={})
    return float(sum(found[(kind,)] for kind in kinds))
