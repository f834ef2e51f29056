"""Two published nights of a few rows, written without Spark, and what readers of them need."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from roilake.lake import TABLES, Lake, Run

FIRST, SECOND = date(2020, 1, 9), date(2020, 1, 10)
JOBS = ("ingest_events", "build_graph", "build_rois", "train_models", "evaluate_models", "publish_night")


def write_lake(folder: Path) -> Lake:
    """On the second night ``zoomer`` is much better, two events came instead of four, and a row was rejected."""
    lake = Lake(None, folder)
    write_night(lake, FIRST, auc=0.7, events=4, rejected=0, epochs=3)
    write_night(lake, SECOND, auc=0.8, events=2, rejected=1, epochs=1)
    return lake


def write_night(
    lake: Lake, ds: date, *, auc: float, events: int, rejected: int, epochs: int, run_id: str | None = None
) -> None:
    run = Run(run_id or f"run{ds:%m%d}abc", ds, "test", "digest", "0123456789abcdef")
    tables = {
        "events": [event(ds, place) for place in range(events)],
        "node_ids": [{"node_type": kind, "key": f"{kind} {ds}", "id": ds.day} for kind in ("user", "item")],
        "nodes": [{"node_type": kind, "id": 0, "key": kind, "fields": [], "terms": []} for kind in ("user", "item")],
        "rois": [roi("request", ds, "serve"), roi("request", ds - timedelta(1), "test"), roi("item", ds, "item")],
        "metrics": [metric(run, model, value) for model, value in (("zoomer", auc), ("popularity", 0.6))],
        "quarantine": [{"job": "ingest_events", "row": f'{{"n":{n}}}', "reason": "no time"} for n in range(rejected)],
        "runs": [job(run, name, place) for place, name in enumerate(JOBS)],
    }  # fmt: skip
    for table, rows in tables.items():
        write(lake, run, table, rows)
    config = {
        "name": "small",
        "default_model": "zoomer",
        "models": {name: {"kind": name} for name in ("zoomer", "popularity")},
        "training": {"epochs": epochs},
    }
    lake.publish(ds, {table: lake.version(table) for table in tables}, run, json.dumps(config))


def write(lake: Lake, run: Run, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows of one night; a table partitioned by job takes them job by job."""
    by_job: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        key = row["job"] if "job" in TABLES[table].partitions else None
        by_job.setdefault(key, []).append({"ds": run.ds, **row})
    for name, held in (by_job or {None: []}).items():
        where = {"ds": run.ds} | ({} if name is None else {"job": name})
        lake.write(table, pa.Table.from_pylist(held, schema=TABLES[table].arrow_schema), where=where, run=run)


def event(ds: date, place: int) -> dict[str, Any]:
    time = datetime(ds.year, ds.month, ds.day, place, tzinfo=UTC)
    who = {"user": "u", "query": "q" if place else None, "item": "i", "event_type": "click", "value": 1.0}
    return {"event_id": f"{ds}/{place}", "time": time, "session": "s", **who}


def roi(side: str, as_of: date, split: str) -> dict[str, Any]:
    ids = {"root": as_of.day, "user": 1, "query": -1, "positives": [], "neighbours": [1], "relevance": [1]}
    return {"side": side, "as_of": as_of, "shard": 0, "split": split, **ids}


def metric(run: Run, model: str, value: float) -> dict[str, Any]:
    measure = {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 100}
    return {"run": run.run_id, "model": model, "split": "test", "slice": "all", "metric": "auc", **measure}


def job(run: Run, name: str, place: int, status: str = "succeeded") -> dict[str, Any]:
    return {
        "run_id": run.run_id, "job": name, "status": status, "inputs": "{}", "outputs": json.dumps({name: 1}),
        "rows_in": 10, "rows_out": 10, "rows_quarantined": 0, "seconds": 1.5 * place, "bytes": 1000,
        "config_hash": "digest", "details": "{}",
    }  # fmt: skip
