"""What a night's report says, gathered from the lake's tables and the files beside its models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from roilake.config import NightConfig
from roilake.lake import Lake

EXAMPLES = 3
Measure = dict[str, Any]
"""value, low, high (each a float or None) and n."""


@dataclass(frozen=True)
class Contents:
    """All that the page shows. ``metrics[split, slice][model][metric]`` is a Measure; ``before`` holds those
    of the night published last (test, all). ``problems`` are the failed checks: empty means published."""

    ds: date
    name: str
    run_id: str
    code_revision: str
    default_model: str
    problems: tuple[str, ...]
    metrics: dict[tuple[str, str], dict[str, dict[str, Measure]]]
    before_ds: date | None
    before: dict[str, dict[str, Measure]]
    curves: dict[str, dict[str, Any]]
    fanout: list[dict[str, Any]]
    nodes: dict[str, int]
    edges: dict[str, int]
    quarantine: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    versions: dict[str, int]
    recommendations: int


def gather(
    lake: Lake,
    config: NightConfig,
    ds: date,
    run: tuple[str, str],
    versions: dict[str, int],
    problems: tuple[str, ...],
) -> Contents:
    """Read what the page needs at these table versions. ``run`` is (run id, code revision)."""
    before = lake.publication(before=ds)
    return Contents(
        ds=ds,
        name=config.name,
        run_id=run[0],
        code_revision=run[1],
        default_model=config.default_model,
        problems=problems,
        metrics=read_metrics(lake, versions.get("metrics"), ds),
        before_ds=before.ds if before else None,
        before=read_metrics(lake, before.versions.get("metrics"), before.ds).get(("test", "all"), {})
        if before
        else {},
        curves=_curves(lake, versions.get("models"), ds),
        fanout=_fanout(lake),
        nodes=_counts(lake, versions, "nodes", "node_type", ds),
        edges=_counts(lake, versions, "edges", "edge_type", ds),
        quarantine=_quarantine(lake, versions.get("quarantine"), ds),
        runs=_runs(lake, versions.get("runs"), ds),
        versions=versions,
        recommendations=_rows(lake, versions, "recommendations", ds),
    )


def read_metrics(
    lake: Lake, version: int | None, ds: date
) -> dict[tuple[str, str], dict[str, dict[str, Measure]]]:
    """Metrics of a night: (split, slice) to model to metric to Measure."""
    found: dict[tuple[str, str], dict[str, dict[str, Measure]]] = {}
    for row in _read(lake, "metrics", version, ds):
        models = found.setdefault((row["split"], row["slice"]), {})
        measure = {name: row[name] for name in ("value", "low", "high", "n")}
        models.setdefault(row["model"], {})[row["metric"]] = measure
    return found


def _read(lake: Lake, table: str, version: int | None, ds: date) -> list[dict[str, Any]]:
    """Rows of ``ds`` of a small table; none if the night has no such table."""
    return [] if version is None else lake.to_arrow(table, version, filters={"ds": ds}).to_pylist()


def _curves(lake: Lake, version: int | None, ds: date) -> dict[str, dict[str, Any]]:
    """Learning curve of each model trained this night, from ``curve.json`` beside its weights."""
    paths = {
        row["name"]: Path(lake.path) / row["path"] / "curve.json"
        for row in _read(lake, "models", version, ds)
    }
    return {name: json.loads(path.read_text()) for name, path in sorted(paths.items()) if path.exists()}


def _fanout(lake: Lake) -> list[dict[str, Any]]:
    """Points of the fan-out curve (model, fanout, seconds, auc), if a benchmark left
    ``reports/fanout.json``."""
    path = Path(lake.path) / "reports" / "fanout.json"
    return json.loads(path.read_text()) if path.exists() else []


def _counts(lake: Lake, versions: dict[str, int], table: str, kind: str, ds: date) -> dict[str, int]:
    """Rows by type; of edges those of the latest graph only."""
    if table not in versions:
        return {}
    rows = lake.read(table, version=versions[table]).where(F.col("ds") == F.lit(ds))
    if table == "edges":
        starts = [
            f.partition["as_of"]
            for f in lake.active_files(table, versions[table])
            if f.partition["ds"] == str(ds)
        ]
        rows = rows.where(F.col("as_of") == F.lit(max(starts, default=str(ds))).cast("date"))
    return {row[kind]: row["count"] for row in rows.groupBy(kind).count().orderBy(kind).collect()}


def _quarantine(lake: Lake, version: int | None, ds: date) -> list[dict[str, Any]]:
    """Rejected rows by reason, the most frequent first, with up to three examples."""
    if version is None:
        return []
    rows = lake.read("quarantine", version=version).where(F.col("ds") == F.lit(ds))
    place = F.row_number().over(Window.partitionBy("job", "reason").orderBy("row"))
    numbered = rows.select("job", "reason", "row", place.alias("place"))
    example = F.when(F.col("place") <= EXAMPLES, F.col("row"))
    found = numbered.groupBy("job", "reason").agg(
        F.count("*").alias("rows"), F.sort_array(F.collect_list(example)).alias("examples")
    )
    return [row.asDict() for row in found.orderBy(F.desc("rows"), "job", "reason").collect()]


def _runs(lake: Lake, version: int | None, ds: date) -> list[dict[str, Any]]:
    rows = _read(lake, "runs", version, ds)
    earlier = (row for row in rows if row["job"] != "publish_night")  # of a rerun: this one has not ended yet
    return [{**row, "details": json.loads(row["details"] or "{}")} for row in earlier]


def _rows(lake: Lake, versions: dict[str, int], table: str, ds: date) -> int:
    if table not in versions:
        return 0
    return sum(f.rows for f in lake.active_files(table, versions[table]) if f.partition["ds"] == str(ds))
