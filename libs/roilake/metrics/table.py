"""Every metric of labelled rows in Spark, of any size: the driver gets sums over users only.

Definitions and intervals are those of ``measure_arrays``; the tests hold the two together to 1e-9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.metrics.intervals import NAN, Estimate
from roilake.metrics.registry import distinct, parse
from roilake.metrics.table_catalogue import checked_catalogue
from roilake.metrics.table_lists import sums_of_lists
from roilake.metrics.table_rows import USUAL, Columns, check, check_request, named
from roilake.metrics.table_scores import KEYS, SCORES, sums_of_scores
from roilake.metrics.table_totals import Totals

_TEXTS, _NUMBERS = ("model", "slice", "metric"), ("value", "low", "high")
RESULT = pa.schema({**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_NUMBERS, pa.float64()), "n": pa.int64()})


def measure_table(
    rows: DataFrame,
    metrics: Sequence[str],
    *,
    columns: Columns = USUAL,
    slices: Sequence[str] = (),
    catalogue: DataFrame | None = None,
    draws: int = 200,
    seed: int = 0,
) -> pa.Table:
    """Metrics (``roilake.metrics.registry``) of all rows and of each value of the columns ``slices``, with n and a 95 %
    interval over users: rows (model, slice, metric, value, low, high, n); null is undefined. ``model`` is the name of
    the score column; with ``columns.other`` there are also that one's rows and the paired differences, ``A minus B``.

    Args:
        rows: one row per labelled score. Ids are of any type that can be grouped by; those that are null (or NaN) are
            refused. Weights and rows of what was not shown are as in ``measure_arrays``. Ranks instead of scores: give
            them with the sign turned.
        slices: a slice ``COLUMN=VALUE`` is measured on its rows alone; that of null is ``COLUMN is null``.
        catalogue: item, and what the metrics need of its events and its vector (array of double; null: none), for
            metrics of whole lists. All items of the rows are in it, once.

    The rows are read once or more for each kind of metric: persist them if they are costly to make. A task holds one
    range of the scores (about 100,000 rows and what ties with them), or one request's positives and first items.
    MetricError as in ``measure_arrays``, with the number of bad rows."""
    metrics = distinct(metrics)
    check_request(metrics, columns, catalogue, SCORES)
    rows = named(rows, columns, distinct(slices))
    count = check(rows, {parse(name)[0].inputs for name in metrics})
    items = None if catalogue is None else checked_catalogue(catalogue, metrics)
    if items is not None:
        items.refuse_others(rows)
    models = [columns.score, columns.other, f"{columns.score} minus {columns.other}"]
    if not count or not metrics:
        numbers = range(len(models) if columns.other else 1)
        none = Estimate(NAN, NAN, NAN, 0)
        return _result({(number, "all", metric): none for number in numbers for metric in metrics}, models)
    long = _long(rows, columns.other is not None)
    held: list[DataFrame] = []
    scores, lists = sums_of_scores(long.where("shown = 1"), metrics, count, held), sums_of_lists(long, metrics, items)
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


def _long(rows: DataFrame, two_models: bool) -> DataFrame:
    """One row for each model and slice that a row belongs to."""
    sliced = rows.withColumn("slice", F.explode("slices")).drop("slices")
    first = sliced.drop("other").withColumn("model", F.lit(0))
    if not two_models:
        return first
    second = sliced.drop("score").withColumnRenamed("other", "score").withColumn("model", F.lit(1))
    return first.unionByName(second)


def _rows_of_users(long: DataFrame) -> DataFrame:
    """By (model, slice, user), of what was shown: rows, positives, and whether positives or negatives have weight."""
    label, weight = F.col("label") * F.col("shown"), F.col("weight") * F.col("shown")
    positive, negative = label * weight, (1 - label) * weight
    return long.groupBy(*KEYS).agg(
        F.sum("shown").alias("rows"),
        F.sum(label).alias("positives"),
        F.max((positive > 0).cast("double")).alias("holds_positive"),
        F.max((negative > 0).cast("double")).alias("holds_negative"),
    )
