"""Retrieval nights as they come out of a lake, with made-up numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from roilake.lake import Publication
from roilake.metrics.champion import Champion
from roilake.pipelines.retrieval.report import Graph
from roilake.report.data import ReportData
from roilake.report.night import NightData
from roilake.runtime.registry import find

NAMES = ("auc", "auc_popularity_negatives", "hit_rate@50", "hit_rate@100", "hit_rate@200", "ndcg@20")
MODELS = ("gat", "graphsage", "interest_dot", "no_graph", "popularity", "zoomer")
SEEN = {"repeats": 12, "positives": 4000}
STEPS = ("ingest_events", "build_graph", "build_requests", "embed_interests", "build_rois", "train_models")


def measure(value: float, half: float = 0.0115, n: int = 4132) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def measures(base: float, n: int = 4132) -> dict:
    values = {name: round(base * (1 - 0.09 * index), 4) for index, name in enumerate(NAMES)}
    found = {name: measure(value, n=n) for name, value in values.items()}
    return {**found, "log_loss": measure(round(0.4 - 0.1 * base, 4)), "coverage@20": measure(0.31)}


def metrics() -> dict:
    test = {name: measures(0.78 + 0.021 * index) for index, name in enumerate(MODELS)}
    test["gat"]["hit_rate@50"] = measure(0.81)
    differences = {name: {metric: measure(-0.02, 0.01) for metric in NAMES} for name in MODELS[:-1]}
    differences["gat"]["hit_rate@50"] = measure(0.05, 0.01)
    differences["popularity"]["ndcg@20"] = measure(-0.001, 0.01)
    differences["popularity"]["log_loss"] = measure(0.02, 0.01)
    undefined = {name: {"value": None, "low": None, "high": None, "n": 0} for name in NAMES}
    slices = {"warm_users": measures(0.88), "cold_users": undefined, "head_items": measures(0.93)}
    slices |= {"tail_items": measures(0.71, 1288), "gender=F": measures(0.84, 1100), "gender=M": measures(0.9)}
    slices |= {f"day=1998-04-{day:02}": measures(0.86 + 0.004 * day, 500) for day in range(4, 11)}
    bins = {
        f"calibration bin {k:02}": {"predicted": measure(0.1 * k + 0.05), "observed": measure(0.09 * k + 0.06, 0.03)}
        for k in range(10)
    }
    return {
        ("test", "all"): test,
        ("test", "delta_vs_default"): differences,
        **{("test", name): {"zoomer": found} for name, found in (slices | bins).items()},
    }


def gate(name: str, *, passed: bool, **columns: Any) -> dict:
    bound = {"metric": "auc", "model": "zoomer", "split": "test", "slice": "all", "bound": "at most 0.99", "detail": ""}
    return {"gate": name, "passed": passed, **measure(0.885), **bound, **columns}


def runs(factor: float = 1.0) -> tuple[dict, ...]:
    details = {
        "build_rois": {"plan": "local"},
        "evaluate_models": {"share": 1.0, "seen": {**SEEN, "share": 0.003, "rule": "drop"}, "requests_left_out": 2},
        "train_models": {"planned_seconds": 60.0, "wait_fraction": 0.031, "models": {"zoomer": {"steps": 45}}},
    }
    return tuple(
        {
            "step": step, "status": "succeeded", "rows_in": 98000, "rows_out": 41000 + index, "rows_quarantined": 0,
            "rows_later": 0, "bytes": 14_400_000, "seconds": factor * (4.0 + 9 * index),
            "details": details.get(step, {}),
        }
        for index, step in enumerate((*STEPS, "score_requests", "evaluate_models"))
    )  # fmt: skip


def graph() -> Graph:
    fanout = [
        {"model": model, "fanout": k, "seconds": k * len(model), "auc": 0.83 + 0.001 * k}
        for model in ("zoomer", "graphsage")
        for k in (2, 5, 10, 20, 40)
    ]
    return Graph(
        nodes={"item": 1682, "query": 19, "user": 943},
        edges={"item_item": 61230, "item_item_similar": 8103, "user_item": 98214, "query_user": 15712},
        new={"user": 3, "item": 1},
        nulls={"query": 121},
        rois={
            ("item", "test"): 1682, ("item", "train"): 1682, ("request", "serve"): 47,
            ("request", "test"): 424, ("request", "train"): 30_000, ("request", "validation"): 4_000,
        },
        fanout=tuple(fanout),
    )  # fmt: skip


def night() -> NightData:
    curve = [{"step": 20 * k, "loss": 7.4 - 1.2 * (1 - 0.93**k), "seconds": 1.0 * k} for k in range(40)]
    validations = [{"step": 260 * k, "auc": 0.83 + 0.01 * k} for k in range(1, 4)]
    return NightData(
        pipeline=find("retrieval"),
        ds=date(1998, 4, 10),
        run_id="3f9c1e77a2b4",
        code_revision="b2e39637c1d0f00dcafe",
        config={"name": "movielens", "models": {name: {"kind": name} for name in MODELS}},
        versions={"events": 3, "nodes": 2, "edges": 2, "rois": 2, "models": 1, "metrics": 1},
        metrics=metrics(),
        curves={name: {"steps": curve, "validations": validations} for name in ("zoomer", "gat", "no_graph")},
        runs=runs(),
        gates=(gate("not_a_leak", passed=True), gate("lift_over_popularity", passed=True)),
        quarantine=(
            {
                "step": "ingest_events",
                "reason": "no time",
                "rows": 12,
                "examples": ['{"user_id:token":"196","item_id:token":"<b>242</b>","timestamp:float":null}'],
            },
        ),
        rows={"events": 1210, "nodes": 2644, "recommendations": 48_200, "rois": 41_004},
        champion=Champion("zoomer", date(1998, 4, 10)),
        upstreams={"conversion": None},
        own=graph(),
    )  # fmt: skip


def last_night() -> NightData:
    """The night before: zoomer's AUC lay well below, its other metrics within noise; one job was much faster."""
    found = metrics()
    found["test", "all"]["zoomer"]["auc"] = measure(0.83)
    found["test", "gender=F"]["zoomer"]["ndcg@20"] = measure(0.55)
    slow = tuple({**run, "details": {}} for run in runs(0.4))
    rows = {"events": 1500, "nodes": 2640, "recommendations": 48_200}
    return replace(night(), ds=date(1998, 4, 9), metrics=found, runs=slow, rows=rows)


def sample() -> ReportData:
    return ReportData(night(), before=last_night())


def failed() -> ReportData:
    leak = gate("not_a_leak", passed=False, value=0.997, detail="day=1998-04-07 moved most")
    problems = ("test AUC of zoomer is 0.997, above the bound 0.99: a likely leak", "runs: missing")
    seen = Publication("retrieval", date(1998, 4, 9), "5a0e", {}, "{}", "b2e3")
    return replace(sample(), night=replace(night(), gates=(*night().gates, leak)), problems=problems, seen=seen)
