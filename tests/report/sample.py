"""A night's contents as they come out of a lake, with made-up numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from roilake.report.contents import Contents

NAMES = ("auc", "auc_popular", "hit_rate@50", "hit_rate@100", "hit_rate@200", "ndcg@20")
MODELS = ("gat", "graphsage", "interest_dot", "no_graph", "popularity", "zoomer")


def measures(base: float, n: int = 4132) -> dict:
    values = {name: round(base * (1 - 0.09 * place), 4) for place, name in enumerate(NAMES)}
    return {name: {"value": v, "low": v - 0.011, "high": v + 0.012, "n": n} for name, v in values.items()}


def difference(value: float) -> dict:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 4132}


def sample() -> Contents:
    test = {name: measures(0.78 + 0.021 * place) for place, name in enumerate(MODELS)}
    test["gat"]["hit_rate@50"] = {"value": 0.81, "low": 0.79, "high": 0.83, "n": 4132}
    undefined = {name: {"value": None, "low": None, "high": None, "n": 0} for name in NAMES}
    differences = {name: {metric: difference(-0.02) for metric in NAMES} for name in MODELS[:-1]}
    differences["gat"]["hit_rate@50"] = difference(0.05)
    differences["popularity"]["ndcg@20"] = difference(-0.001)
    curve = [{"step": 20 * k, "loss": 7.4 - 1.2 * (1 - 0.93**k), "seconds": 1.0 * k} for k in range(40)]
    epochs = [{"epoch": k, "auc": 0.83 + 0.01 * k} for k in range(1, 4)]
    jobs = ("ingest_events", "build_graph", "build_requests", "embed_interests", "build_rois", "train_models")
    return Contents(
        ds=date(1998, 4, 10),
        name="movielens",
        run_id="3f9c1e77a2b4",
        code_revision="b2e39637c1d0f00dcafe",
        default_model="zoomer",
        problems=(),
        metrics={
            ("test", "all"): test,
            ("test", "cold_users"): {"zoomer": undefined},
            ("test", "minus zoomer"): differences,
            ("test", "warm_users"): {"zoomer": measures(0.88)},
            ("test", "head_items"): {"zoomer": measures(0.93)},
            ("test", "tail_items"): {"zoomer": measures(0.71, 1288)},
        },
        before_ds=date(1998, 4, 9),
        before={"zoomer": measures(0.87)},
        curves={name: {"steps": curve, "epochs": epochs} for name in ("zoomer", "gat", "no_graph")},
        fanout=[
            {"model": model, "fanout": k, "seconds": k * len(model), "auc": 0.83 + 0.001 * k}
            for model in ("zoomer", "graphsage")
            for k in (2, 5, 10, 20, 40)
        ],
        nodes={"item": 1682, "query": 19, "user": 943},
        edges={"item_item": 61230, "item_item_similar": 8103, "user_item": 98214, "query_user": 15712},
        quarantine=[
            {
                "job": "ingest_events",
                "reason": "no time",
                "rows": 12,
                "examples": ['{"user_id:token":"196","item_id:token":"<b>242</b>","timestamp:float":null}'],
            }
        ],
        runs=[
            {
                "job": job, "status": "succeeded", "rows_in": 98000, "rows_out": 41000 + place,
                "bytes": 14_400_000, "seconds": 4.0 + 9 * place, "details": {"plan": "local"},
            }
            for place, job in enumerate(jobs)
        ],
        versions={"events": 3, "nodes": 2, "edges": 2, "rois": 2, "models": 1, "metrics": 1},
        recommendations=48_200,
    )  # fmt: skip


def failed() -> Contents:
    return replace(sample(), problems=("test AUC of zoomer is 0.997, above the bound 0.99: a likely leak",))
