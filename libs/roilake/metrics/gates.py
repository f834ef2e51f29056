"""The audit of a night: what must hold before its tables are published, as one list of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.config.base import NightConfig
from roilake.lake import Lake
from roilake.metrics.bounds import Measured, check_bounds, explained
from roilake.metrics.gate_result import GateResult, result_of
from roilake.metrics.leakage import check_leak, check_shuffled
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.evaluation import leaks as conversion_checks
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.evaluation.leaks import check_leaks
from roilake.runtime.kinds import GRAPH, kind_of


@dataclass(frozen=True)
class Checks:
    """What a kind of night is held against. ``filled`` tables must have rows of the night, ``read`` ones must be there;
    rows that ``balanced`` reads are out or in quarantine."""

    filled: Callable[[Any], Sequence[str]]
    read: tuple[str, ...]
    balanced: str
    leakage: Callable[[Measured], Iterable[GateResult]]
    judged: tuple[str, str]  # split and slice that every model must have metrics of
    tables: Callable[[Lake, Any, date, Mapping[str, int]], Iterable[GateResult]]
    results: Callable[[Lake, Any, date, Mapping[str, int]], Iterable[GateResult]]


def _graph_filled(config: RetrievalConfig) -> list[str]:
    tables = ("nodes", "edges", "adjacency", "interest_vectors", "requests", "rois", "models", "metrics")
    return [table for table in tables if table != "edges" or config.graph.edges]


def _graph_results(
    lake: Lake, config: RetrievalConfig, ds: date, versions: Mapping[str, int]
) -> Iterator[GateResult]:
    yield result_of("recommendations_complete", _check_recommendations(lake, config, ds, versions))


CHECKS: dict[type[NightConfig], Checks] = {
    RetrievalConfig: Checks(
        filled=_graph_filled,
        read=("events", "node_ids", "recommendations", "runs"),
        balanced="ingest_events",
        leakage=lambda now: (*check_shuffled(now), *check_leak(now)),
        judged=("test", "all"),
        tables=check_leaks,
        results=_graph_results,
    ),
    ConversionConfig: Checks(
        filled=conversion_checks.filled,
        read=("runs",),
        balanced="build_impressions",
        leakage=conversion_checks.check_metrics,
        judged=("test", "clicked"),
        tables=conversion_checks.check_tables,
        results=conversion_checks.check_scores,
    ),
}


def audit(
    lake: Lake, config: RetrievalConfig | ConversionConfig, ds: date, versions: Mapping[str, int]
) -> list[GateResult]:
    """All gates of the night at these table versions: those that its config sets and those of every night of its kind,
    in that order. It may be published when all have passed."""
    checks = CHECKS[type(config)]
    missing = [name for name in (*checks.filled(config), *checks.read) if name not in versions]
    if missing:
        problem = f"{', '.join(missing)} missing from the lake; run the jobs that write them"
        return [GateResult("tables_filled", False, problem)]
    now, last = _measured(lake, ds, versions), _last(lake, ds)
    leakage = checks.leakage(now)
    runs = lake.to_arrow("runs", versions["runs"], filters={"ds": ds}).to_pylist()
    return [
        *check_bounds(config, now, last),
        *(
            result if result.passed or not result.metric else explained(result, now, last)
            for result in leakage
        ),
        *checks.tables(lake, config, ds, versions),
        result_of("tables_filled", check_filled(lake, checks.filled(config), ds, versions)),
        result_of("jobs_in_order", check_runs(runs, kind_of(config).jobs, checks.balanced)),
        result_of("models_judged", check_judged(now, config.judged, *checks.judged)),
        *checks.results(lake, config, ds, versions),
    ]


def _measured(lake: Lake, ds: date, versions: Mapping[str, int]) -> Measured:
    return Measured.of(ds, lake.to_arrow("metrics", versions["metrics"], filters={"ds": ds}).to_pylist())


def _last(lake: Lake, ds: date) -> Measured:
    """The metrics of the night published last before ``ds``; nothing on a first night."""
    published = lake.publication(before=ds)
    return _measured(lake, published.ds, published.versions) if published else Measured()


def check_filled(lake: Lake, tables: Sequence[str], ds: date, versions: Mapping[str, int]) -> Iterator[str]:
    """Every table that a night fills has rows of it."""
    for table in tables:
        files = lake.active_files(table, versions[table])
        if not any(file.rows for file in files if file.partition["ds"] == str(ds)):
            yield f"{table}: 0 rows for {ds}, at least 1 is needed"


def check_runs(
    runs: Sequence[Mapping[str, Any]], jobs: Sequence[str] = GRAPH.jobs, balanced: str = "ingest_events"
) -> Iterator[str]:
    """Every job succeeded, the one named ``balanced`` accounts for all rows that it read, and each read what earlier
    jobs wrote last."""
    found = {row["job"]: row for row in runs}
    written: dict[str, tuple[str, int]] = {}
    for job in jobs:
        row = found.get(job)
        if row is None or row["status"] != "succeeded":
            yield f"{job}: status is {row['status'] if row else 'missing'}, must be succeeded"
            continue
        for table, version in json.loads(row["inputs"]).items():
            writer, last = written.get(table, ("", version))
            if version != last:
                yield f"{job}: read {table} version {version}, not {writer}'s {last}; run {job} again"
        written |= {table: (job, version) for table, version in json.loads(row["outputs"]).items()}
    ingested = found.get(balanced)
    if ingested and ingested["rows_in"] != ingested["rows_out"] + ingested["rows_quarantined"]:
        yield (
            f"{balanced}: {ingested['rows_in']} rows in, but {ingested['rows_out']} out and "
            f"{ingested['rows_quarantined']} quarantined; they must add up"
        )


def check_judged(
    now: Measured, models: Sequence[str], split: str = "test", name: str = "all"
) -> Iterator[str]:
    """Every model has metrics of this split and slice."""
    for model in models:
        places = [place for place in now.rows if place[:3] == (model, split, name)]
        if not any(now.find(*place) for place in places):
            yield f"metrics of {model}: 0 {split} metrics, at least 1 is needed (are there {split} requests?)"


def _check_recommendations(
    lake: Lake, config: RetrievalConfig, ds: date, versions: Mapping[str, int]
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
