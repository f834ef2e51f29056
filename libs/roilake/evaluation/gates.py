"""The audit of a night: what must hold before its tables are published. Each failed check is one line that
names the check, the value found and the bound."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.config import NightConfig
from roilake.lake import Lake

JOBS = (
    "ingest_events", "build_graph", "build_requests", "embed_interests", "build_rois", "train_models",
    "score_requests", "evaluate_models",
)  # fmt: skip
FILLED = ("nodes", "edges", "adjacency", "interest_vectors", "requests", "rois", "models", "metrics")
LEAK = 0.99
"""A test AUC above this is taken for a leak of the answer into the question."""


def audit(lake: Lake, config: NightConfig, ds: date, versions: Mapping[str, int]) -> list[str]:
    """All checks that fail at these table versions, in words; empty when the night may be published."""
    missing = [name for name in (*FILLED, "runs", "node_ids", "recommendations") if name not in versions]
    if missing:
        return [f"tables: {', '.join(missing)} missing from the lake; run the jobs that write them"]
    runs = lake.to_arrow("runs", versions["runs"], filters={"ds": ds}).to_pylist()
    metrics = lake.to_arrow("metrics", versions["metrics"], filters={"ds": ds}).to_pylist()
    return [
        *check_filled(lake, ds, versions),
        *check_runs(runs),
        *check_metrics(metrics, tuple(config.models)),
        *_check_recommendations(lake, config, ds, versions),
    ]


def check_filled(lake: Lake, ds: date, versions: Mapping[str, int]) -> Iterator[str]:
    """Every table that a night fills has rows of it."""
    for table in FILLED:
        files = lake.active_files(table, versions[table])
        if not any(file.rows for file in files if file.partition["ds"] == str(ds)):
            yield f"{table}: 0 rows for {ds}, at least 1 is needed"


def check_runs(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every job succeeded, accounts for all rows it read in (ingestion), and read what earlier jobs wrote
    last."""
    found = {row["job"]: row for row in runs}
    written: dict[str, tuple[str, int]] = {}
    for job in JOBS:
        row = found.get(job)
        if row is None or row["status"] != "succeeded":
            yield f"{job}: status is {row['status'] if row else 'missing'}, must be succeeded"
            continue
        for table, version in json.loads(row["inputs"]).items():
            writer, last = written.get(table, ("", version))
            if version != last:
                yield f"{job}: read {table} version {version}, not {writer}'s {last}; run {job} again"
        written |= {table: (job, version) for table, version in json.loads(row["outputs"]).items()}
    ingested = found.get("ingest_events")
    if ingested and ingested["rows_in"] != ingested["rows_out"] + ingested["rows_quarantined"]:
        yield (
            f"ingest_events: {ingested['rows_in']} rows in, but {ingested['rows_out']} out and "
            f"{ingested['rows_quarantined']} quarantined; they must add up"
        )


def check_metrics(metrics: Sequence[Mapping[str, Any]], models: Sequence[str]) -> Iterator[str]:
    """Every model has test metrics, and no test AUC is too good to be true."""
    test = [row for row in metrics if row["split"] == "test" and row["slice"] == "all"]
    for model in models:
        values = {row["metric"]: row["value"] for row in test if row["model"] == model}
        known = [value for value in values.values() if value is not None]
        if not known:
            yield f"metrics of {model}: 0 test metrics, at least 1 is needed (are there test requests?)"
        for name in ("auc", "auc_popular"):
            if (values.get(name) or 0.0) > LEAK:
                yield f"test {name} of {model}: {values[name]:.4f} is above {LEAK}, likely a leak"


def _check_recommendations(
    lake: Lake, config: NightConfig, ds: date, versions: Mapping[str, int]
) -> Iterator[str]:
    night = F.col("ds") == F.lit(ds)
    requests = lake.read("requests", version=versions["requests"]).where(night & (F.col("split") == "serve"))
    rows = lake.read("recommendations", version=versions["recommendations"]).where(night)
    ids = lake.read("node_ids", version=versions["node_ids"])
    items = ids.where(F.col("node_type") == "item").count()
    least = 0 if config.scoring.drop_seen else min(config.scoring.top_k, items)
    counts = count_faults(requested_keys(requests, ids), rows, least, min(config.scoring.top_k, items))
    for fault, count in counts.items():
        if count:
            yield f"recommendations: {count} {fault}, must be 0"


def requested_keys(requests: DataFrame, ids: DataFrame) -> DataFrame:
    """Distinct (user, query) keys of requests; query null for -1."""
    pairs = requests.select("user", "query").distinct()
    for name in ("user", "query"):
        keys = ids.where(F.col("node_type") == name).select(F.col("id").alias(name), "key")
        pairs = pairs.join(F.broadcast(keys), on=name, how="left").drop(name).withColumnRenamed("key", name)
    return pairs.select("user", "query")


def count_faults(requested: DataFrame, rows: DataFrame, least: int, most: int) -> dict[str, int]:
    """How many requests and rows break the contract of ``recommendations``, by kind of fault: each requested
    pair has ``least`` to ``most`` rows, ranks 1, 2, ... without gap or double, no item twice, and scores that
    are numbers."""
    bad_score = F.col("score").isNull() | F.isnan("score") | F.col("score").isin(float("inf"), float("-inf"))
    lists = rows.groupBy("user", "query").agg(
        F.count("*").alias("rows"),
        F.count_distinct("rank").alias("ranks"),
        F.min("rank").alias("first"),
        F.max("rank").alias("last"),
        F.count_distinct("item").alias("items"),
        F.sum(bad_score.cast("long")).alias("bad"),
        F.lit(True).alias("listed"),
    )
    asked = requested.withColumn("asked", F.lit(True))
    same = asked["user"].eqNullSafe(lists["user"]) & asked["query"].eqNullSafe(lists["query"])
    both = asked.join(lists, on=same, how="full")
    gap = (F.col("first") != 1) | (F.col("last") != F.col("rows")) | (F.col("ranks") != F.col("rows"))
    faults = {
        "requests without a row": F.col("listed").isNull() & F.lit(least > 0),
        "lists that nobody asked for": F.col("asked").isNull(),
        f"requests with fewer than {least} or more than {most} rows": ~F.col("rows").between(least, most),
        "requests with gaps or doubles in their ranks": gap,
        "requests with an item twice": F.col("items") != F.col("rows"),
    }
    sums = [F.sum(F.coalesce(fault, F.lit(False)).cast("long")).alias(name) for name, fault in faults.items()]
    found = both.agg(*sums, F.sum("bad").alias("scores that are no number")).first()
    return {name: count or 0 for name, count in found.asDict().items()} if found else {}
