"""The cost of each step of a night: its work (``volumes``) at its rate (``rates``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date

import psutil

from roilake.estimate.plan import Estimate, free_disk, planned
from roilake.lake import Lake, count_by
from roilake.pipelines.retrieval.config import NODE_TYPES, RetrievalConfig
from roilake.pipelines.retrieval.estimate.past import Past, defaults, passes, trained_models
from roilake.pipelines.retrieval.estimate.volumes import Events, History, events_in, graph_work, serve_events
from roilake.pipelines.retrieval.graph import Window, last_model, plan_windows
from roilake.pipelines.retrieval.graph.incremental import IncrementalAggregates
from roilake.pipelines.retrieval.roi.build import EVENT_BYTES, EVENTS_A_TASK, Choice, decide


@dataclass(frozen=True)
class RetrievalEstimate(Estimate):
    """``events_known``: the night's events were counted, not guessed."""

    roi: Choice
    events: int
    new_events: int
    events_known: bool
    windows: int

    @property
    def notes(self) -> tuple[str, ...]:
        counted = "counted" if self.events_known else "guessed: the night is not ingested"
        events = f"{self.events:,} events, {self.new_events:,} of them new ({counted}); {self.windows} windows"
        return events, f"Regions of interest: {self.roi.why}"


def plan_night(lake: Lake, config: RetrievalConfig, ds: date) -> RetrievalEstimate:
    """From the lake's tables and runs of other nights, those before ``ds`` where there are any; no Spark."""
    last = last_model(lake, config, ds)
    windows = plan_windows(config.windows, ds, last.train_end if last else None)
    instants = sorted({window.as_of for window in windows})
    events = Events(lake, config.source.events)
    history = events.until(ds, instants[0])
    past = Past.read(lake, events, config, ds, _later(lake, ds, carried=last is not None))
    rows, works = _counts(lake, config, ds, windows, history, past, warm=last is not None)
    stores, free = int(past.store_bytes_per_event * history.events), psutil.virtual_memory().available
    held = _held(config, stores, history.events, _nodes(lake, history, *NODE_TYPES))
    written = {"build_graph": past.history_bytes * history.new}
    steps, disk = [], 0.0
    for step, rate in past.rates.items():
        work, more = works[step], written.get(step, 0)
        high = disk + more + (rate.bytes + rate.scratch) * work
        disk += more + (rate.bytes + rate.left) * work
        each = planned(step, rate, rows[step], work, disk=high, held=held.get(step, 0), written=more)
        steps.append(each)
    return RetrievalEstimate(
        pipeline=config.pipeline,
        ds=ds,
        steps=tuple(steps),
        free_disk=free_disk(lake),
        free_memory=free,
        roi=decide(config, stores, free),
        events=round(history.events),
        new_events=round(history.new),
        events_known=history.known,
        windows=len(instants),
    )


def _later(lake: Lake, ds: date, *, carried: bool) -> list[str]:
    """Steps that build on earlier nights."""
    sums = IncrementalAggregates.of(lake).snapshots
    return [step for step, so in (("build_graph", sums and sums[0].ds <= str(ds)), ("embed_interests", carried)) if so]


def _held(config: RetrievalConfig, stores: int, events: float, nodes: float) -> dict[str, float]:
    """What steps hold of events and nodes, beside what their rates tell of smaller nights: ROI stores and the histories
    of a task each, and in each process that asks a model the features of two windows (vector, degree and its bucket, a
    term and a category)."""
    features = 2 * nodes * (4 * config.interest.dim + 32)
    cores = os.cpu_count() or 1
    return {
        "build_rois": stores + min(events, cores * EVENTS_A_TASK) * EVENT_BYTES,
        "train_models": config.training.workers * features,
        "evaluate_models": (cores + 1) * features,
        "score_requests": (cores + 1) * features,
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
) -> tuple[dict[str, float], dict[str, float]]:
    """Rows and work of each step of the night, from its windows and from what earlier nights have shown."""
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
        "evaluate_models": past.requests * events_in(history, windows, "validation", "test"),
        "score_requests": served,
        "publish_night": 0.0,
    }
    times = passes(config, trained_models(config), len(config.models), warm=warm)
    work = {step: count * times.get(step, 1) for step, count in rows.items()}
    graph = graph_work(history, sorted(instants))
    return rows, work | {"build_graph": graph, "embed_interests": graph}


def _nodes(lake: Lake, history: History, *kinds: str) -> float:
    """Nodes of these types, those of the night left out where it is not ingested."""
    if not lake.exists("node_ids"):
        return sum(defaults().nodes[kind] for kind in kinds) * history.events
    found = count_by(lake, "node_ids", lake.version("node_ids"), ["node_type"], filters={})
    return float(sum(found[(kind,)] for kind in kinds))
