"""Published nights of a few rows, written without Spark, and what readers of them need."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from roilake.lake import Lake, Publication, Run
from roilake.metrics.champion import Champion
from roilake.runtime.registry import tables

FIRST, SECOND = date(2020, 1, 9), date(2020, 1, 10)
STEPS = ("ingest_events", "build_graph", "build_rois", "train_models", "evaluate_models", "publish_night")


def write_lake(folder: Path) -> Lake:
    """On the second night ``zoomer`` is much better, two events came instead of four, and a row was rejected."""
    lake = Lake(None, folder)
    write_night(lake, FIRST, auc=0.7, events=4, rejected=0, epochs=3)
    write_night(lake, SECOND, auc=0.8, events=2, rejected=1, epochs=1)
    return lake


def write_night(
    lake: Lake, ds: date, *, auc: float, events: int, rejected: int, epochs: int, run_id: str | None = None
) -> None:
    """A night of retrieval."""
    run = a_run(run_id or f"run{ds:%m%d}abc", "retrieval", ds)
    rows = {
        "events": [event(ds, hour) for hour in range(events)],
        "node_ids": [{"node_type": kind, "key": f"{kind} {ds}", "id": ds.day} for kind in ("user", "item")],
        "nodes": [node(kind, day) for kind in ("user", "item") for day in range(FIRST.day, ds.day + 1)],
        "rois": [roi("request", ds, "serve"), roi("request", ds - timedelta(1), "test"), roi("item", ds, "item")],
        "metrics": [metric(run, model, value) for model, value in (("zoomer", auc), ("popularity", 0.6))],
        "champions": [chosen(ds)],
        "quarantine": [
            {"step": "ingest_events", "source": "events", "row_id": f"{n}", "row": f'{{"n":{n}}}', "reason": "no time"}
            for n in range(rejected)
        ],
        "runs": [step(run, name, index) for index, name in enumerate(STEPS)],
    }  # fmt: skip
    models = {name: {"kind": name} for name in ("zoomer", "popularity")}
    publish(lake, run, rows, {"default_model": "zoomer", "models": models, "training": {"epochs": epochs}})


def chosen(ds: date) -> dict[str, Any]:
    """Zoomer serves from the first night on."""
    reason, before = ("first", None) if ds == FIRST else ("stayed", "zoomer")
    found = Champion("zoomer", FIRST, reason, before, "ndcg@20", 0.5, "popularity", -0.1, -0.15, -0.05, 100)
    return asdict(found)


def node(kind: str, day: int) -> dict[str, Any]:
    """The node that came on a day."""
    return {"node_type": kind, "id": day, "key": f"{kind} {day}", "fields": [], "terms": []}


def write_conversion(lake: Lake, ds: date, upstream: Any = None) -> None:
    """A night of conversion, which read ``upstream`` of retrieval; three rows of its source are later than it."""
    run = a_run(f"cvr{ds:%m%d}abc", "conversion", ds)
    scored = {"split": "test", "impression_id": "i", "user": "u", "item": "i", "pcvr": 0.25, "version": "v"}
    steps = [step(run, name, 1) for name in ("build_impressions", "publish_night")]
    rows = {
        "impressions": [impression(ds, number) for number in range(4)],
        "node_ids": [{"node_type": "user", "key": f"seen {ds}", "id": 1000 + ds.day}],
        "cvr_scores": [{"model": model, **scored} for model in ("ukd", "base")],
        "metrics": [metric(run, model, value) for model, value in (("ukd", 0.75), ("base", 0.74))],
        "runs": [{**steps[0], "rows_in": 13, "rows_later": 3}, steps[1]],
    }
    publish(lake, run, rows, {"default_model": "ukd", "models": {"ukd": {}, "base": {}}}, {"retrieval": upstream})


def a_run(run_id: str, pipeline: str, ds: date) -> Run:
    return Run(run_id, pipeline, ds, "test", "digest", "0123456789abcdef")


def publish(
    lake: Lake, run: Run, rows: dict[str, list[dict[str, Any]]], config: dict[str, Any], upstreams: Any = None
) -> None:
    """Write the rows by table, and publish them as one night."""
    for table, held in rows.items():
        write(lake, run, table, held)
    versions = {table: lake.version(table) for table in rows}
    written = json.dumps({"name": "small", **config})
    lake.publish(
        Publication(run.pipeline, run.ds, run.run_id, versions, written, run.code_revision, upstreams or {}), run
    )


def write(lake: Lake, run: Run, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows of one night; a table partitioned by step takes them step by step."""
    definition, by_step = tables()[table], dict[str | None, list[dict[str, Any]]]()
    for row in rows:
        key = row["step"] if "step" in definition.partitions else None
        by_step.setdefault(key, []).append({"ds": run.ds, "pipeline": run.pipeline, **row})
    for name, held in (by_step or {None: []}).items():
        where = {"ds": run.ds} | ({} if name is None else {"step": name})
        lake.write(table, pa.Table.from_pylist(held, schema=definition.arrow_schema), where=where, run=run)


def event(ds: date, hour: int) -> dict[str, Any]:
    time = datetime(ds.year, ds.month, ds.day, hour, tzinfo=UTC)
    who = {"user": "u", "query": "q" if hour else None, "item": "i", "event_type": "click", "value": 1.0}
    return {"event_id": f"{ds}/{hour}", "time": time, "session": "s", **who}


def roi(side: str, as_of: date, split: str) -> dict[str, Any]:
    ids = {"root": as_of.day, "user": 1, "query": -1, "positives": [], "repeats": 0}
    tree = {"neighbours": [1], "relevance": [1], "linked": [], "ages": []}
    return {"side": side, "as_of": as_of, "shard": 0, "split": split, **ids, **tree}


def metric(run: Run, model: str, value: float) -> dict[str, Any]:
    measure = {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 100}
    return {"run": run.run_id, "model": model, "split": "test", "slice": "all", "metric": "auc", **measure}


def impression(ds: date, number: int) -> dict[str, Any]:
    """Of four, the first is clicked and converted, the second clicked."""
    labels = {"click": int(number < 2), "conversion": int(number < 1) if number < 2 else None}
    time = datetime(ds.year, ds.month, ds.day, number, tzinfo=UTC)
    where = {"split": "train", "labelled": int(number < 2), "shard": 0, "user": "u", "item": "i", "categories": [1]}
    return {"impression_id": f"{ds}/{number}", "time": time, "sampling_rate": 1.0, **where, **labels}


def step(run: Run, name: str, index: int, status: str = "succeeded") -> dict[str, Any]:
    return {
        "run_id": run.run_id, "step": name, "status": status, "inputs": "{}", "outputs": json.dumps({name: 1}),
        "upstreams": "{}", "rows_in": 10, "rows_out": 10, "rows_quarantined": 0, "rows_later": 0,
        "seconds": 1.5 * index, "bytes": 1000, "config_hash": "digest", "details": "{}",
    }  # fmt: skip
