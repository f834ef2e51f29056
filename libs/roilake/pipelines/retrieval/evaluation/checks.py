"""What is audited of a night before it is published, beside what every pipeline's is: leaks, and whether every request
has its recommendations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured, result_of
from roilake.metrics.leakage import check_leak, check_shuffled
from roilake.metrics.night_tables import NightTables, Span
from roilake.metrics.slices import ALL
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.evaluation.leaks import check_leaks
from roilake.pipelines.retrieval.graph.requests import keyed
from roilake.pipelines.retrieval.metrics import IN_QUERY, POPULARITY_NEGATIVES
from roilake.pipelines.retrieval.seen import SeenRule

AUCS = dict.fromkeys(("auc", POPULARITY_NEGATIVES, IN_QUERY, "gauc"), ALL)
"""AUCs that show a leak together, and the slice that is looked at."""


def filled(config: RetrievalConfig) -> list[str]:
    """Tables that the night must have rows of."""
    tables = (
        "nodes", "histories", "edges", "adjacency", "interest_vectors", "requests", "rois", "models", "champions",
        "metrics",
    )  # fmt: skip
    return [table for table in tables if table != "edges" or config.graph.edges]


def checks(
    lake: Lake, config: RetrievalConfig, ds: date, versions: Mapping[str, int], now: Measured
) -> Iterator[GateResult]:
    """All checks of night ``ds`` at these table versions; ``now`` are its metrics."""
    night = NightTables(lake, config.pipeline, ds, versions)
    yield from check_shuffled(now, "evaluate_models")
    yield from check_leak(now, AUCS)
    yield from check_leaks(night, config)
    yield result_of("event_ids_unique", check_event_ids(night))
    yield result_of("histories_complete", check_histories(night))
    yield result_of("recommendations_complete", check_recommendations(night, config))


def check_event_ids(night: NightTables) -> Iterator[str]:
    """No event is in the table twice, whichever nights ingested it."""
    events = night.lake.read("events", version=night.versions["events"])
    again = events.groupBy("event_id").count().where(F.col("count") > 1).count()
    if again:
        yield f"events: {again} event ids more than once, must be 0; run the nights again in another lake"


def check_histories(night: NightTables) -> Iterator[str]:
    """The night's rows are its distinct events, in number and in their first and last time; earlier nights with events
    have rows, and no more of them."""
    again = "run build_graph of that night again"
    logged, ingested = (_rows_by_night(night, table) for table in ("histories", "events"))
    found = logged.pop(str(night.ds), 0)
    expected = night.read("events").select("user", "time", "item", "query").distinct().count()
    if found != expected:
        yield f"histories: {found} rows of {night.ds}, must be its {expected} distinct events; {again}"
    times, wanted = (night.spans(table, "time", "ds").get(str(night.ds)) for table in ("histories", "events"))
    if times != wanted:
        yield f"histories: {_span(times)} on {night.ds}, must be {_span(wanted)} as its events; {again}"
    for ds in sorted(day for day in logged | ingested if day < str(night.ds)):
        if not min(ingested[ds], 1) <= logged[ds] <= ingested[ds]:
            yield f"histories: {logged[ds]} rows of {ds}, must be some of its {ingested[ds]} events; {again}"


def _rows_by_night(night: NightTables, table: str) -> Counter[str]:
    rows: Counter[str] = Counter()
    for file in night.lake.active_files(table, night.versions[table]):
        rows[file.partition["ds"]] += file.rows
    return rows


def _span(times: Span | None) -> str:
    return f"times {times[0]:%Y-%m-%d %H:%M:%S} to {times[1]:%Y-%m-%d %H:%M:%S}" if times else "no time"


def check_recommendations(night: NightTables, config: RetrievalConfig) -> Iterator[str]:
    """Requests and rows that break the contract of ``recommendations``."""
    requests = night.read("requests").where(F.col("split") == "serve")
    nodes = night.read("nodes")
    items = nodes.where(F.col("node_type") == "item").count()
    most = min(config.scoring.top_k, items)
    rois = night.lake.active_files("rois", night.versions["rois"], **night.where("rois"))
    least = 0 if SeenRule.of(config.evaluation.seen, rois).drop else most
    requested = keyed(requests.select("user", "query").distinct(), nodes, "user", "query")
    counts = count_faults(requested, night.read("recommendations"), least, most)
    for fault, count in counts.items():
        if count:
            yield f"recommendations: {count} {fault}, must be 0"


def count_faults(requested: DataFrame, rows: DataFrame, least: int, most: int) -> dict[str, int]:
    """How many requests and rows break the contract of ``recommendations``, by kind of fault: each requested pair has
    ``least`` to ``most`` rows, ranks 1, 2, ... without gap or double, no item twice, and scores that are numbers."""
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
    wanted = requested.withColumn("requested", F.lit(True))
    same = wanted["user"].eqNullSafe(lists["user"]) & wanted["query"].eqNullSafe(lists["query"])
    both = wanted.join(lists, on=same, how="full")
    gap = (F.col("first") != 1) | (F.col("last") != F.col("rows")) | (F.col("ranks") != F.col("rows"))
    faults = {
        "requests without a row": F.col("listed").isNull() & F.lit(least > 0),
        "lists without a request": F.col("requested").isNull(),
        f"requests with fewer than {least} or more than {most} rows": ~F.col("rows").between(least, most),
        "requests with gaps or doubles in their ranks": gap,
        "requests with an item twice": F.col("items") != F.col("rows"),
    }
    sums = [F.sum(F.coalesce(fault, F.lit(False)).cast("long")).alias(name) for name, fault in faults.items()]
    found = both.agg(*sums, F.sum("bad").alias("scores that are no number")).first()
    return {name: count or 0 for name, count in found.asDict().items()} if found else {}
