"""What earlier nights of a lake have shown: rates of its steps, and shares that tell a night's work from its events.
Where a lake has no runs of its own, ``rates.yaml``, which ships with the package, stands in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from roilake.estimate.plan import earlier_runs
from roilake.estimate.plan import measured as measured_by
from roilake.estimate.rates import Measured, Rate
from roilake.lake import DataFile, Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.estimate.volumes import Events, History, events_in, graph_work, serve_events
from roilake.pipelines.retrieval.graph import plan_windows

LATER = {"build_graph": "extend_graph", "embed_interests": "carry_interests"}
"""Rates of steps that do other work on a night that builds on earlier ones: only new events are summed up, and interest
vectors are carried over."""


@dataclass(frozen=True)
class Defaults:
    """Content of ``rates.yaml``: a rate per step, and shares where no night has shown them."""

    steps: dict[str, Rate]
    edges_bytes: float
    similarity_seconds: float
    requests: float
    served: float
    nodes: dict[str, float]
    history_bytes: float
    store_bytes: float


@cache
def defaults() -> Defaults:
    """What ships with the package."""
    tree = yaml.safe_load(Path(__file__).with_name("rates.yaml").read_text())
    origin = tree.pop("origin")
    steps = {job: _given_rate(given, origin) for job, given in tree.pop("steps").items()}
    return Defaults(steps, **tree)


def _given_rate(given: dict[str, Any], origin: str) -> Rate:
    (fixed, each), (resident, more) = given["seconds"], given["memory"]
    scratch, left = (given.get(name, 0.0) for name in ("scratch", "left"))
    return Rate(fixed, each, given["bytes"], scratch, resident, more, origin, left)


STEPS = tuple(name for name in defaults().steps if name not in LATER.values())


@dataclass(frozen=True)
class Past:
    """What earlier nights of the lake have shown."""

    rates: dict[str, Rate]
    requests: float  # distinct requests per event of a window
    served: float  # the same of the days served
    store_bytes_per_event: float  # of the ROI stores that a machine has open at a time
    history_bytes: float  # of table ``histories``, per event of its night

    @classmethod
    def read(cls, lake: Lake, events: Events, config: RetrievalConfig, ds: date, later: Collection[str]) -> Past:
        """``later``: steps that build on earlier nights, of the night to come."""
        known = defaults()
        nights, graphs, logged = earlier_runs(lake, config.pipeline, ds), _instants(lake), _histories(lake)
        measured: dict[str, list[Measured]] = {}
        shares: dict[str, float] = {}
        for night, runs in nights.items():
            history = events.until(night, night)
            for step, work in _work_then(
                runs, graph_work(history, graphs.get(night, [])), config, warm=night != min(nights)
            ).items():
                found = _measured(step, runs[step], work, logged.get(night, []))
                measured.setdefault(_rate_name(step, _later(runs)), []).append(found)
            shares |= _shares(runs, history, config, night)
        named = {step: _rate_name(step, later) for step in STEPS}
        rates = {step: _rate(name, config).fitted(measured.get(name, [])) for step, name in named.items()}
        files = [file for some in logged.values() for file in some]
        rows = sum(file.rows for file in files)
        return cls(
            rates=rates,
            requests=shares.get("requests", known.requests),
            served=shares.get("served", known.served),
            store_bytes_per_event=shares.get("store", known.store_bytes),
            history_bytes=sum(file.bytes for file in files) / rows if rows else known.history_bytes,
        )


def _rate_name(step: str, later: Collection[str]) -> str:
    return LATER[step] if step in later else step


def _later(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Steps of an earlier night that have built on nights before it."""
    graph, vectors = (runs.get(step, {"details": {}, "rows_in": 0}) for step in LATER)
    extended = graph["details"].get("new_events", graph["rows_in"]) < graph["rows_in"]
    carried = vectors["details"].get("source", "graph") != "graph"
    return [step for step, so in zip(LATER, (extended, carried), strict=True) if so]


def _rate(name: str, config: RetrievalConfig) -> Rate:
    known, graph = defaults(), config.graph
    rate = known.steps[name]
    if name not in ("build_graph", "extend_graph"):
        return rate
    return replace(
        rate,
        bytes=rate.bytes + (known.edges_bytes if graph.edges else 0.0),
        fixed=rate.fixed + (known.similarity_seconds if graph.similarity else 0.0),
    )


def _instants(lake: Lake) -> dict[date, list[date]]:
    """Instants of the graphs that earlier nights have made."""
    found: dict[date, set[date]] = {}
    for file in lake.active_files("adjacency") if lake.exists("adjacency") else []:
        night, instant = (date.fromisoformat(file.partition[name]) for name in ("ds", "as_of"))
        found.setdefault(night, set()).add(instant)
    return {night: sorted(instants) for night, instants in found.items()}


def _measured(step: str, run: dict[str, Any], work: float, histories: Sequence[DataFile]) -> Measured:
    """Bytes of ``histories``, which grow with the night's events, are no part of a rate."""
    found = measured_by(run, work)
    return replace(found, bytes=found.bytes - sum(file.bytes for file in histories)) if step == "build_graph" else found


def _histories(lake: Lake) -> dict[date, list[DataFile]]:
    """Files of ``histories`` by night."""
    found: dict[date, list[DataFile]] = {}
    for file in lake.active_files("histories") if lake.exists("histories") else []:
        found.setdefault(date.fromisoformat(file.partition["ds"]), []).append(file)
    return found


def _work_then(
    runs: dict[str, dict[str, Any]], graph: float, config: RetrievalConfig, *, warm: bool
) -> dict[str, float]:
    """The work of an earlier night's steps. Its models are those that it tells of; its epochs the config's."""
    rows = {step: float(run["rows_in"]) for step, run in runs.items() if step in STEPS}
    figures = runs.get("train_models", {}).get("details", {}).get("models", {})
    trained = sum(found.get("steps", 0) > 0 for found in figures.values()) or trained_models(config)
    times = passes(config, trained, len(figures) or len(config.models), warm=warm)
    work = {step: count * times.get(step, 1) for step, count in rows.items()}
    return work | {step: graph for step in ("build_graph", "embed_interests") if step in rows and graph}


def passes(config: RetrievalConfig, trained: int, models: int, *, warm: bool) -> dict[str, int]:
    """How often a step goes over its rows, where it is more than once."""
    epochs = config.training.warm_epochs if warm else config.training.epochs
    return {"train_models": trained * epochs, "evaluate_models": models}


def trained_models(config: RetrievalConfig) -> int:
    """Models of the config that take steps."""
    from roilake.pipelines.retrieval.models import is_matrix_kind  # needs torch, which takes seconds to import

    return sum(not is_matrix_kind(model.kind) for model in config.models.values())


def _shares(
    runs: dict[str, dict[str, Any]], history: History, config: RetrievalConfig, night: date
) -> dict[str, float]:
    """What the runs of a night have shown: requests per event, those served per event, bytes of ROI stores per
    event."""
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
