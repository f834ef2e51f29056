"""Every metric of labelled rows in Spark, of any size: the driver gets sums over users only.

Definitions and intervals are those of ``measure_arrays``; the tests hold the two together to 1e-9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.errors import MetricError
from roilake.metrics.intervals import NAN, Estimate
from roilake.metrics.registry import parse
from roilake.metrics.table_lists import sums_of_lists
from roilake.metrics.table_scores import KEYS, SCORES, sums_of_scores
from roilake.metrics.table_totals import Totals

_TEXTS, _NUMBERS = ("model", "slice", "metric"), ("value", "low", "high")
RESULT = pa.schema({**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_NUMBERS, pa.float64()), "n": pa.int64()})


@dataclass(frozen=True)
class Columns:
    """Which columns of the table mean what. ``other`` is the score of a second model."""

    user: str = "user"
    label: str = "label"
    score: str = "score"
    other: str | None = None
    weight: str | None = None
    request: str | None = None
    item: str | None = None


def measure_table(
    rows: DataFrame,
    metrics: Sequence[str],
    *,
    columns: Columns = Columns(),
    slices: Sequence[str] = (),
    catalogue: DataFrame | None = None,
    draws: int = 200,
    seed: int = 0,
) -> pa.Table:
    """Metrics (``roilake.metrics.registry``) of all rows and of each value of the columns ``slices``, with n and a 95 %
    interval over users: rows (model, slice, metric, value, low, high, n); null is undefined. ``model`` is the name of
    the score column; with ``columns.other`` there are also that one's rows and the paired differences, ``A minus B``.

    Args:
        rows: one row per labelled score. Users are integers, or are hashed to some. Weights are as in
            ``measure_arrays``. Ranks instead of scores: give them with the sign turned.
        slices: a slice ``COLUMN=VALUE`` is measured on its rows alone (null: ``none``).
        catalogue: item, events, vector (array of double; null: none) of each item, for metrics of whole lists.

    The rows are read once or more for each kind of metric: persist them if they are costly to make. A task holds one
    range of the scores (about 100,000 rows and what ties with them), or one request's positives and first items.
    MetricError as in ``measure_arrays``, with the number of bad rows."""
    _check_request(metrics, columns, catalogue)
    rows = _named(rows, columns, slices)
    count = _check(rows, {parse(name)[0].inputs for name in metrics})
    models = [columns.score, columns.other, f"{columns.score} minus {columns.other}"]
    if not count:
        return _result({(0, "all", metric): Estimate(NAN, NAN, NAN, 0) for metric in metrics}, models)
    long = _long(rows, columns.other is not None)
    held: list[DataFrame] = []
    scores, lists = sums_of_scores(long, metrics, count, held), sums_of_lists(long, metrics, catalogue)
    parts = [_rows_of_users(long), *scores, *lists]
    by_user = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
    values = [name for name in by_user.columns if name not in KEYS]
    sums = [F.sum(F.coalesce(F.col(f"`{name}`"), F.lit(0.0))).alias(name) for name in values]
    by_user = by_user.groupBy(*KEYS).agg(*sums).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        found = Totals(by_user, values, metrics, draws, seed).estimates()
    finally:
        for each in (by_user, *held):
            each.unpersist()
    return _result(found, models)


def _result(found: Mapping[tuple[int, str, str], Estimate], models: Sequence[str | None]) -> pa.Table:
    rows = [
        {"model": models[model], "slice": name, "metric": metric, **estimate.columns}
        for (model, name, metric), estimate in sorted(found.items())
    ]
    return pa.Table.from_pylist(rows, schema=RESULT)


def _check_request(metrics: Sequence[str], columns: Columns, catalogue: DataFrame | None) -> None:
    """MetricError for a metric that is not known, or whose columns are not there."""
    for name in metrics:
        metric = parse(name)[0]
        if metric.inputs == "scores" and metric.name not in SCORES:
            raise MetricError(f"{name} is not computed over a table; there are {', '.join(SCORES)}")
        if metric.inputs in ("ranks", "lists") and not (columns.request and columns.item):
            raise MetricError(f"{name} needs columns.request and columns.item")
        if metric.inputs == "lists" and catalogue is None:
            raise MetricError(f"{name} needs a catalogue of items")


def _named(rows: DataFrame, columns: Columns, slices: Sequence[str]) -> DataFrame:
    """The columns under their own names, users as integers, and the ``slices`` that each row belongs to."""
    wanted = [name for name in vars(columns).values() if name] + list(slices)
    missing = sorted(set(wanted) - set(rows.columns))
    if missing:
        raise MetricError(f"the table has no column {', '.join(missing)}; it has {', '.join(rows.columns)}")
    user = F.col(columns.user)
    whole = dict(rows.dtypes)[columns.user] in ("int", "bigint", "smallint", "tinyint")
    cuts = [F.concat(F.lit(f"{name}="), F.coalesce(F.col(name).cast("string"), F.lit("none"))) for name in slices]
    kept = [
        (user.cast("long") if whole else F.xxhash64(user)).alias("user"),
        F.col(columns.label).cast("double").alias("label"),
        F.col(columns.score).cast("double").alias("score"),
        F.col(columns.other or columns.score).cast("double").alias("other"),
        (F.col(columns.weight).cast("double") if columns.weight else F.lit(1.0)).alias("weight"),
        F.array(F.lit("all"), *cuts).alias("slices"),
    ]
    if columns.request and columns.item:
        kept += [F.col(columns.request).alias("request"), F.col(columns.item).alias("item")]
    return rows.select(*kept)


def _check(rows: DataFrame, inputs: Set[str]) -> int:
    """Number of rows. MetricError for what no metric of these inputs is defined on."""
    infinite = [F.lit(float("inf")), F.lit(float("-inf"))]

    def odd(name: str) -> Column:
        return F.col(name).isNull() | F.isnan(name) | F.col(name).isin(*infinite)

    outside = ~F.col("score").between(0, 1) | ~F.col("other").between(0, 1)
    rules = {
        "scores must be finite": odd("score") | odd("other"),
        "labels must be 0 or 1": F.col("label").isNull() | ~F.col("label").isin(0.0, 1.0),
        "weights must be finite and not negative": odd("weight") | (F.col("weight") < 0),
        "users must not be null": F.col("user").isNull(),
    }
    if "probabilities" in inputs:
        rules["probabilities must lie in [0, 1]"] = outside
    found = rows.agg(F.count("*"), *(F.sum(bad.cast("long")) for bad in rules.values())).collect()[0]
    for rule, bad in zip(rules, found[1:], strict=True):
        if bad:
            raise MetricError(f"{rule}: {bad} of {found[0]} rows are otherwise")
    if inputs & {"ranks", "lists"}:
        _check_requests(rows)
    return found[0]


def _check_requests(rows: DataFrame) -> None:
    """MetricError for an item twice in a request, or a request of several users or weights."""
    pairs = rows.groupBy("request", "item").count().where("count > 1").take(1)
    if pairs:
        raise MetricError(f"request {pairs[0]['request']} has item {pairs[0]['item']} twice: a candidate is duplicated")
    for name in ("user", "weight"):
        odd = rows.groupBy("request").agg((F.min(name) != F.max(name)).alias("odd")).where("odd").take(1)
        if odd:
            raise MetricError(f"rows of request {odd[0]['request']} differ in their {name}: a request has one")


def _long(rows: DataFrame, two_models: bool) -> DataFrame:
    """One row for each model and slice that a row belongs to."""
    sliced = rows.withColumn("slice", F.explode("slices")).drop("slices")
    first = sliced.drop("other").withColumn("model", F.lit(0))
    if not two_models:
        return first
    second = sliced.drop("score").withColumnRenamed("other", "score").withColumn("model", F.lit(1))
    return first.unionByName(second)


def _rows_of_users(long: DataFrame) -> DataFrame:
    """By (model, slice, user): rows, positives, and whether positives or negatives have weight."""
    positive, negative = F.col("label") * F.col("weight"), (1 - F.col("label")) * F.col("weight")
    return long.groupBy(*KEYS).agg(
        F.count("*").cast("double").alias("rows"),
        F.sum("label").alias("positives"),
        F.max((positive > 0).cast("double")).alias("holds_positive"),
        F.max((negative > 0).cast("double")).alias("holds_negative"),
    )
