"""A night of six users, three queries and twenty items, written straight into a lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from roilake.lake import TABLES, Lake, Run
from roilake.metrics.champion import Champion
from roilake.pipelines.retrieval import PIPELINE
from roilake.pipelines.retrieval.config import RetrievalConfig

DS = date(2020, 1, 10)
USERS, QUERIES, ITEMS, DIM = 6, 3, 20, 4
WINDOWS = {date(2020, 1, 9): "validation", date(2020, 1, 10): "test", date(2020, 1, 11): "serve"}
METRICS = ("auc", "auc_popularity_negatives", "auc_in_query", "hit_rate@1", "hit_rate@5", "ndcg@5")
SIZES = {"user": USERS, "query": QUERIES, "item": ITEMS}


def small_config(**changes: Any) -> RetrievalConfig:
    """Two models that need no training; ``changes`` are dotted into sections: ``scoring={"top_k": 3}``."""
    tree: dict[str, Any] = {
        "pipeline": "retrieval",
        "name": "small",
        "default_model": "interest_dot",
        "source": {"events": {"path": "none", "format": "csv", "columns": {"user": "u", "item": "i", "time": "t"}}},
        "windows": {"length": "1d", "train": 1},
        "interest": {"dim": DIM},
        "roi": {"request_hops": [{"user_item": 2}], "item_hops": [{"item_user": 2}], "shards": 2},
        "models": {"interest_dot": {"kind": "interest_dot"}, "popularity": {"kind": "popularity"}},
        "scoring": {"top_k": 5},
        "evaluation": {"negatives": 8, "metrics": METRICS, "bootstrap": 50},
    }
    for section, change in changes.items():
        tree[section] = {**tree.get(section, {}), **change} if isinstance(change, dict) else change
    return RetrievalConfig.model_validate(tree)


def write_small_night(lake: Lake, make_run: Callable[..., Run], config: RetrievalConfig, ds: date = DS) -> None:
    """Fill all tables of ``ds`` that come before scoring, with the config's default model to serve, and the runs that
    wrote them."""
    rng = np.random.default_rng(0)
    for table, rows in _tables(rng, config, ds).items():
        if TABLES[table].cumulative and ds != DS:
            continue  # the first night knows them all
        _write(lake, table, [{"ds": ds, **row} for row in rows], own(make_run(ds)), ds)
    outputs = {"build_graph": ("node_ids", "nodes", "histories", "edges", "adjacency"), "build_rois": ("rois",)}
    for step in PIPELINE.steps[:-2]:
        versions = {table: lake.version(table) for table in outputs.get(step.name, ())}
        write_run(lake, make_run, ds, step.name, outputs=versions)


def write_few_seen(lake: Lake, make_run: Callable[..., Run]) -> list[tuple[int, int, datetime]]:
    """Other histories: four items of each user but the last, long ago; what user 3 will choose; and one item of user 0,
    at the instant of the test requests. Gives (user, item, time)."""
    requests = lake.to_arrow("requests", lake.version("requests"), filters={"user": 3}).to_pylist()
    pairs = {*_seen(), *((3, row["item"]) for row in requests if row["item"] >= 0)}
    events = [*((user, item, datetime(2020, 1, 1)) for user, item in pairs), (0, 11, datetime(2020, 1, 10))]
    rows = [{"ds": DS, "user": user, "item": item, "time": time, "query": -1} for user, item, time in sorted(events)]
    _write(lake, "histories", rows, own(make_run(DS)), DS)
    return events


def write_run(lake: Lake, make_run: Callable[..., Run], ds: date, step: str, **changes: Any) -> None:
    """A row of ``runs``: succeeded, nothing read or written, unless told otherwise."""
    row: dict[str, Any] = {
        "ds": ds, "run_id": "r", "step": step, "status": "succeeded", "inputs": {}, "outputs": {}, "upstreams": {},
        "rows_in": 10, "rows_out": 10, "rows_quarantined": 0, "rows_later": 0, "seconds": 1.5, "bytes": 1000,
        "config_hash": "c", "details": {}, **changes,
    }  # fmt: skip
    row |= {name: json.dumps(row[name]) for name in ("inputs", "outputs", "upstreams", "details")}
    rows = pa.Table.from_pylist([row], schema=TABLES["runs"].arrow_schema)
    lake.write("runs", rows, where={"ds": ds, "step": step}, run=own(make_run(ds)))


def own(run: Run) -> Run:
    """The run as one of the retrieval pipeline."""
    return replace(run, pipeline=PIPELINE.name)


def _write(lake: Lake, table: str, rows: Sequence[dict], run: Run, ds: date) -> None:
    columns = TABLES[table].arrow_schema
    lake.write(table, pa.Table.from_pylist(list(rows), schema=columns), where={"ds": ds}, run=run)


def _tables(rng: np.random.Generator, config: RetrievalConfig, ds: date) -> dict[str, list[dict]]:
    ids = [(kind, index) for kind, size in SIZES.items() for index in range(size)]
    starts = {start + (ds - DS): split for start, split in WINDOWS.items()}
    requests = [row for start, split in starts.items() for row in _requests(rng, start, split)]
    nodes = [
        {"node_type": k, "id": i, "key": f"{k[0]}{i}", "fields": [], "terms": [f"t{i % 3}"], "title": f"{k} {i}"}
        for k, i in ids
    ]
    return {
        "events": _events(),
        "histories": _histories(),
        "node_ids": [{name: row[name] for name in ("node_type", "id", "key")} for row in nodes],
        "nodes": nodes,
        "edges": [_edge(start, user, item) for start in starts for user, item in _seen()],
        "adjacency": [
            {"as_of": start, "edge_type": "user_item", "src": 0, "neighbours": [0], "weights": [1.0]}
            for start in starts
        ]
        + [
            {"as_of": start, "edge_type": "item_query", "src": item, "neighbours": [item % 2], "weights": [1.0]}
            for start in starts
            for item in range(ITEMS - 1)
        ],
        "interest_vectors": [row for start in starts for row in _vectors(rng, start)],
        "requests": requests,
        "rois": [*_request_rois(requests, config.roi.shards), *_item_rois(starts)],
        "models": [_model(config, name, ds) for name in config.models],
        "champions": Champion(config.default_model, ds, metric="ndcg@5").to_table(ds).drop_columns(["ds"]).to_pylist(),
    }


def _events() -> list[dict]:
    """What the degrees of ``_vectors`` count, all before any window."""
    items = [item for item in range(ITEMS) for _ in range(2 * (ITEMS - 1 - item))]
    return [
        {
            "event_id": str(place), "time": datetime(2020, 1, 1), "user": f"u{place % (USERS - 1)}",
            "query": f"q{place % (QUERIES - 1)}", "item": f"i{item}", "event_type": "view", "value": 1.0,
            "session": "s",
        }
        for place, item in enumerate(items)
    ]  # fmt: skip


def _histories() -> list[dict]:
    """The distinct ones of ``_events`` by ids."""
    found = {tuple(int(event[kind][1:]) for kind in ("user", "item", "query")) for event in _events()}
    return [{"user": u, "time": datetime(2020, 1, 1), "item": i, "query": q} for u, i, q in sorted(found)]


def _seen() -> list[tuple[int, int]]:
    return [(user, (3 * user + k) % ITEMS) for user in range(USERS - 1) for k in range(4)]


def _edge(start: date, user: int, item: int) -> dict:
    time = datetime(2020, 1, 1)
    return {
        "as_of": start, "edge_type": "user_item", "src": user, "dst": item, "weight": 1.0, "first_time": time,
        "last_time": time,
    }  # fmt: skip


def _vectors(rng: np.random.Generator, start: date) -> list[dict]:
    """Every node but the last of each type, which no event has touched; item i has 2 * (19 - i) of ``_events``, the
    other nodes equally many."""
    rows, events = [], len(_events())
    for kind, size in SIZES.items():
        for index in range(size - 1):
            vector = rng.normal(size=DIM)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            degree = 2 * (ITEMS - 1 - index) if kind == "item" else events // (size - 1)
            rows.append(
                {"as_of": start, "node_type": kind, "id": index, "vector": vector, "norm": 1.0, "degree": degree}
            )
    return rows


def _requests(rng: np.random.Generator, start: date, split: str) -> list[dict]:
    """A request of every user, the last one without a query; past ones with one to three positives."""
    rows = []
    for user in range(USERS):
        query = -1 if user == USERS - 1 else user % QUERIES
        root = start.toordinal() * 100 + user
        items = [-1] if split == "serve" else rng.choice(ITEMS, 1 + user % 3, replace=False).tolist()
        for place, item in enumerate(items):
            rows.append(
                {
                    "split": split, "as_of": start, "request_id": root, "user": user, "query": query, "item": item,
                    "label": None if split == "serve" else 1.0, "time": datetime.combine(start, datetime.min.time()),
                    "event_id": f"{root}-{place}", "known_user": user < USERS - 1,
                }
            )  # fmt: skip
    return rows


def _request_rois(requests: Sequence[dict], shards: int) -> list[dict]:
    grouped: dict[int, list[dict]] = {}
    for row in requests:
        grouped.setdefault(row["request_id"], []).append(row)
    had = {(row["user"], row["item"]) for row in _histories()}
    return [
        {
            "side": "request", "as_of": rows[0]["as_of"], "shard": root % shards, "split": rows[0]["split"],
            "root": root, "user": rows[0]["user"], "query": rows[0]["query"],
            "positives": [row["item"] for row in rows if row["item"] >= 0], "time": rows[0]["time"],
            "repeats": sum((row["user"], row["item"]) in had for row in rows),
            "neighbours": [root % ITEMS, -1], "relevance": [100, 0], "linked": [root % 2, 0], "ages": [-100, 127],
        }
        for root, rows in grouped.items()
    ]  # fmt: skip


def _item_rois(starts: dict[date, str]) -> list[dict]:
    return [
        {
            "side": "item", "as_of": start, "shard": 0, "split": "item", "root": item, "user": -1, "query": -1,
            "positives": [], "time": None, "repeats": 0, "neighbours": [item % USERS, -1], "relevance": [90, 0],
            "linked": [], "ages": [],
        }
        for start in starts
        for item in range(ITEMS)
    ]  # fmt: skip


def _model(config: RetrievalConfig, name: str, ds: date) -> dict:
    return {
        "name": name, "run_id": "r", "path": f"models/{name}/{ds}/r", "config": config.models[name].model_dump_json(),
        "parents": "{}", "metrics": "{}", "train_end": ds - timedelta(days=2),
    }  # fmt: skip
