"""The cost of each job of a night: its work (``volumes``) at its rate (``rates``)."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import psutil

from roilake.config import NightConfig
from roilake.estimate.rates import Measured, Rate, defaults
from roilake.estimate.volumes import Events, History, events_in, graph_work, serve_events
from roilake.events import NODE_TYPES
from roilake.graph import Window, last_model, plan_windows
from roilake.lake import Lake, count_by
from roilake.roi.planner import Choice, decide

CARRY = "carry_interests"
JOBS = tuple(name for name in defaults().jobs if name != CARRY)
_NIGHTS = 14  # earlier nights that rates are measured on
_LOOKED_AT = ("ds", "job", "status", "rows_in", "rows_out", "seconds", "bytes", "details")


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


def plan_job(lake: Lake, config: NightConfig, ds: date, job: str) -> PlannedJob | None:
    """One job of the night; None for what is no job of a night."""
    if job not in JOBS:
        return None
    return next(planned for planned in plan_night(lake, config, ds).jobs if planned.job == job)


def plan_night(lake: Lake, config: NightConfig, ds: date) -> Estimate:
    """From the lake's tables and runs of other nights, those before ``ds`` where there are any; no Spark."""
    last = last_model(lake, config, ds)
    windows = plan_windows(config.windows, ds, last.trained_until if last else None)
    instants = sorted({window.as_of for window in windows})
    events = Events(lake, config.source.events)
    history = events.until(ds, instants[0])
    past = Past.read(lake, events, config, ds, warm=last is not None)
    counts = _counts(lake, config, ds, windows, history, past, warm=last is not None)
    stores, free = int(past.store_bytes_per_event * history.events), psutil.virtual_memory().available
    held = _held(config, stores, _nodes(lake, history, *NODE_TYPES))
    jobs, disk = [], 0.0
    for job, rate in past.rates.items():
        work = counts.work[job]
        written = rate.bytes * work
        high = disk + written + rate.scratch * work
        disk += written
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


def _held(config: NightConfig, stores: int, nodes: float) -> dict[str, float]:
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


@dataclass(frozen=True)
class Past:
    """What earlier nights of the lake have shown."""

    rates: dict[str, Rate]
    requests: float  # distinct requests per event of a window
    served: float  # the same of the days served
    store_bytes_per_event: float  # of the ROI stores that a machine has open at a time

    @classmethod
    def read(cls, lake: Lake, events: Events, config: NightConfig, ds: date, *, warm: bool) -> Past:
        known = defaults()
        nights, graphs = _runs(lake, ds), _instants(lake)
        measured: dict[str, list[Measured]] = {}
        shares: dict[str, float] = {}
        for night, runs in nights.items():
            history = events.until(night, night)
            for job, work in _work_then(
                runs, graph_work(history, graphs.get(night, [])), config, warm=night != min(nights)
            ).items():
                run = runs[job]
                spent = Measured(work, run["seconds"], run["bytes"], run["details"].get("peak_memory", 0))
                measured.setdefault(_rate_name(job, carried=_carried(runs)), []).append(spent)
            shares |= _shares(runs, history, config, night)
        named = {job: _rate_name(job, carried=warm) for job in JOBS}
        rates = {job: _rate(name, config).fitted(measured.get(name, [])) for job, name in named.items()}
        fallback = (known.requests, known.requests, known.store_bytes)
        return cls(
            rates, *(shares.get(name, fallback[i]) for i, name in enumerate(("requests", "served", "store")))
        )


def _rate_name(job: str, *, carried: bool) -> str:
    """Interest vectors are fitted on a first night and carried over after it, which is another work."""
    return CARRY if job == "embed_interests" and carried else job


def _carried(runs: dict[str, dict[str, Any]]) -> bool:
    return runs.get("embed_interests", {}).get("details", {}).get("source", "graph") != "graph"


def _rate(name: str, config: NightConfig) -> Rate:
    known, graph = defaults(), config.graph
    rate = known.jobs[name]
    if name != "build_graph":
        return rate
    return replace(
        rate,
        bytes=rate.bytes + (known.edges_bytes if graph.edges else 0.0),
        fixed=rate.fixed + (known.similarity_seconds if graph.similarity else 0.0),
    )


def _runs(lake: Lake, ds: date) -> dict[date, dict[str, dict[str, Any]]]:
    """Runs that ended well, by night and job: those of the last nights before ``ds``, or else of ``ds`` itself."""
    if not lake.exists("runs"):
        return {}
    version = lake.version("runs")
    nights = sorted(
        {date.fromisoformat(f.partition["ds"]) for f in lake.active_files("runs", version) if f.rows}
    )
    chosen = [night for night in nights if night < ds][-_NIGHTS:] or [
        night for night in nights if night == ds
    ]
    if not chosen:
        return {}
    found: dict[date, dict[str, dict[str, Any]]] = {night: {} for night in chosen}
    for row in lake.to_arrow("runs", version, filters={"ds": chosen}, columns=_LOOKED_AT).to_pylist():
        if row["status"] == "succeeded":
            found[row["ds"]][row["job"]] = {**row, "details": json.loads(row["details"] or "{}")}
    return found


def _instants(lake: Lake) -> dict[date, list[date]]:
    """Instants of the graphs that earlier nights have made."""
    found: dict[date, set[date]] = {}
    for file in lake.active_files("adjacency") if lake.exists("adjacency") else []:
        night, instant = (date.fromisoformat(file.partition[name]) for name in ("ds", "as_of"))
        found.setdefault(night, set()).add(instant)
    return {night: sorted(instants) for night, instants in found.items()}


def _work_then(
    runs: dict[str, dict[str, Any]], graph: float, config: NightConfig, *, warm: bool
) -> dict[str, float]:
    """The work of an earlier night's jobs. Its models are those that it tells of; its epochs the config's."""
    rows = {job: float(run["rows_in"]) for job, run in runs.items() if job in JOBS}
    figures = runs.get("train_models", {}).get("details", {}).get("models", {})
    trained = sum(found.get("steps", 0) > 0 for found in figures.values()) or _trained(config)
    passes = _passes(config, trained, len(figures) or len(config.models), warm=warm)
    work = {job: count * passes.get(job, 1) for job, count in rows.items()}
    return work | {job: graph for job in ("build_graph", "embed_interests") if job in rows and graph}


def _passes(config: NightConfig, trained: int, models: int, *, warm: bool) -> dict[str, int]:
    epochs = config.training.warm_epochs if warm else config.training.epochs
    return {"train_models": trained * epochs, "evaluate_models": models}


def _trained(config: NightConfig) -> int:
    """Models that take steps."""
    from roilake.models import is_matrix_kind  # needs torch, which takes seconds to import

    return sum(not is_matrix_kind(model.kind) for model in config.models.values())


def _shares(
    runs: dict[str, dict[str, Any]], history: History, config: NightConfig, night: date
) -> dict[str, float]:
    shares = {}
    windows = plan_windows(config.windows, night, None)
    judged, serve = events_in(history, windows, "validation", "test"), serve_events(history, config, night)
    if "evaluate_models" in runs and judged:
        shares["requests"] = runs["evaluate_models"]["rows_in"] / judged
    if "score_requests" in runs and serve:
        shares["served"] = runs["score_requests"]["rows_in"] / serve
    if "build_rois" in runs and history.events:
        shares["store"] = runs["build_rois"]["details"].get("store_bytes", 0) / history.events
    return shares


def _counts(
    lake: Lake,
    config: NightConfig,
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
    passes = _passes(config, _trained(config), len(config.models), warm=warm)
    work = {job: count * passes.get(job, 1) for job, count in rows.items()}
    graph = graph_work(history, sorted(instants))
    return Counts(rows, work | {"build_graph": graph, "embed_interests": graph})


def _nodes(lake: Lake, history: History, *kinds: str) -> float:
    """Nodes of these types, those of the night left out where it is not ingested."""
    if not lake.exists("node_ids"):
        return sum(defaults().nodes[kind] for kind in kinds) * history.events
    found = count_by(lake, "node_ids", lake.version("node_ids"), ["node_type"], filters={})
    return float(sum(found[(kind,)] for kind in kinds))
