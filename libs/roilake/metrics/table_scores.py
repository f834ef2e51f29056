"""Metrics of scores over a Spark table: exact, with no more in one task than one range of the scores.

A table's scores are cut into ranges by quantiles. What lies below a range is two numbers, its positives and its
negatives, so each range is worked on alone, and equal scores never lie in two. Rows here have columns model (0 or 1),
slice, user, label, score, weight; results are sums by (model, slice, user)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats, Labelled, Steps
from roilake.metrics.observed import by_user, pr_slopes
from roilake.metrics.registry import Metric

RANGE = 100_000
"""About this many rows lie in a range of the scores."""
MOST = 4096
"""Ranges at most."""
GROUP = ("model", "slice")
SCORES = ("auc", "gauc", "pr_auc", "ks")
"""Metrics of scores of any scale that have sums over ranges."""
SUMMED = ("positive", "negative", "precise", "beaten", "beating", "own", "loss", "upto_positive", "upto_negative")
"""By user: weight of positives and negatives; that of positives times the precision at their score; weight times
what a row beats, or what beats it, of the other class; weight times slope of PR-AUC of positives and of negatives;
weight up to the threshold with the range's largest gap between the classes."""
OF_RANGE = ("gain_slope", "loss_slope", "gap")


def range_bounds(scores: DataFrame, count: int) -> list[float]:
    """Scores that cut the table into ranges of about RANGE rows; approximate, which changes no result."""
    ranges = min(MOST, count // RANGE + 1)
    shares = [number / ranges for number in range(1, ranges)]
    return sorted(set(scores.approxQuantile("score", shares, 0.25 / ranges))) if shares else []


def range_of(bounds: Sequence[float], first: int = 0) -> Column:
    """Number of bounds that are at or below the score, as a tree of comparisons."""
    if not bounds:
        return F.lit(first)
    middle = len(bounds) // 2
    above = range_of(bounds[middle + 1 :], first + middle + 1)
    return F.when(F.col("score") >= F.lit(bounds[middle]), above).otherwise(range_of(bounds[:middle], first))


def score_sums(rows: DataFrame, bounds: Sequence[float]) -> DataFrame:
    """Sums of SUMMED by (model, slice, range, user), and OF_RANGE in a row with user null for each range."""
    ranged = rows.withColumn("range", range_of(bounds))
    masses = ranged.groupBy(*GROUP, "range").agg(
        F.sum(F.col("weight") * F.col("label")).alias("positive"),
        F.sum(F.col("weight") * (1 - F.col("label"))).alias("negative"),
    )
    below, total = _offsets(masses.orderBy(*GROUP, "range").collect())

    def work(key: tuple[Any, ...], table: pa.Table) -> pa.Table:
        range_key = tuple(each.as_py() for each in key)
        return _range_sums(range_key, table, below[range_key], total[range_key[:2]])

    return ranged.groupBy(*GROUP, "range").applyInArrow(work, _schema_text())


def _offsets(masses: Sequence[Any]) -> tuple[dict[tuple, tuple[float, float]], dict[tuple, tuple[float, float]]]:
    """(positive, negative) weight below each range and in all of its group."""
    below: dict[tuple, tuple[float, float]] = {}
    total: dict[tuple, tuple[float, float]] = {}
    for row in masses:
        group = (row["model"], row["slice"])
        before = total.get(group, (0.0, 0.0))
        below[*group, row["range"]] = before
        total[group] = (before[0] + row["positive"], before[1] + row["negative"])
    return below, total


def _schema_text() -> str:
    numbers = ", ".join(f"`{name}` double" for name in (*SUMMED, *OF_RANGE))
    return f"model int, slice string, `range` int, user long, {numbers}"


def _range_sums(
    key: tuple[Any, ...], table: pa.Table, below: tuple[float, float], total: tuple[float, float]
) -> pa.Table:
    """SUMMED by user, and a last row of OF_RANGE, of the rows [N] of one (model, slice, range)."""
    data = Labelled(*(table[name].to_numpy() for name in ("label", "score", "weight")))
    users, user_N = np.unique(table["user"].to_numpy(), return_inverse=True)
    steps = Steps.of(data, below, total)
    gain_T, loss_T = pr_slopes(steps)
    gap_T = abs(steps.gaps()) if steps.defined else np.zeros(len(gain_T))
    best = int(gap_T.argmax())
    upto_N = steps.step_N <= best
    masses = (data.weights * data.labels, data.weights * (1 - data.labels))
    slope_T = gain_T.cumsum() - loss_T.cumsum()
    columns = [
        *masses,
        masses[0] * steps.precision()[steps.step_N],
        masses[0] * steps.beaten()[steps.step_N],
        masses[1] * steps.beating()[steps.step_N],
        masses[0] * (steps.precision() + slope_T)[steps.step_N],
        masses[1] * loss_T.cumsum()[steps.step_N],
        masses[0] * upto_N,
        masses[1] * upto_N,
    ]
    of_range = (gain_T.sum(), loss_T.sum(), gap_T[best])
    sums_UC = np.vstack([by_user(columns, user_N, len(users)), np.zeros(len(SUMMED))])
    count = len(users) + 1
    own = {name: sums_UC[:, number] for number, name in enumerate(SUMMED)}
    rest = {name: np.r_[np.zeros(len(users)), value] for name, value in zip(OF_RANGE, of_range, strict=True)}
    keys = {
        "model": pa.array([key[0]] * count, pa.int32()),
        "slice": pa.array([key[1]] * count),
        "range": pa.array([key[2]] * count, pa.int32()),
        "user": pa.array([*users.tolist(), None], pa.int64()),
    }
    return pa.table({**keys, **own, **rest})


def group_sums(rows: DataFrame) -> DataFrame:
    """GAUC by (model, slice, user): ``area``, the user's AUC times its weight, and ``mass``, that weight; a user with
    one class only has neither."""
    steps = rows.groupBy(*GROUP, "user", "score").agg(
        F.sum(F.col("weight") * F.col("label")).alias("p"), F.sum(F.col("weight") * (1 - F.col("label"))).alias("q")
    )
    upto = Window.partitionBy(*GROUP, "user").orderBy("score").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    sums = (
        steps.withColumn("beaten", F.sum("q").over(upto) - F.col("q") / 2)
        .groupBy(*GROUP, "user")
        .agg(F.sum(F.col("p") * F.col("beaten")).alias("won"), F.sum("p").alias("p"), F.sum("q").alias("q"))
        .where((F.col("p") > 0) & (F.col("q") > 0))
    )
    mass = F.col("p") + F.col("q")
    area = mass * F.col("won") / (F.col("p") * F.col("q"))
    return sums.select(*GROUP, "user", area.alias("area"), mass.alias("mass"))


def probability_sums(rows: DataFrame, metrics: Sequence[Metric]) -> DataFrame:
    """Columns ``METRIC_0``, ``METRIC_1``, ... of the metrics of probabilities, summed by (model, slice, user)."""
    names = [name for metric in metrics for name in columns_of(metric)]

    def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _partial(batch, metrics, names)

    schema = "model int, slice string, user long, " + ", ".join(f"`{name}` double" for name in names)
    needed = rows.select("model", "slice", "user", "label", "score", "weight")
    partial = needed.mapInArrow(work, schema)
    return partial.groupBy(*GROUP, "user").agg(*(F.sum(name).alias(name) for name in names))


def columns_of(metric: Metric) -> list[str]:
    """Names of the columns that a metric of probabilities is a function of."""
    one = np.zeros(1)
    width = metric.compute.columns(Labelled(one, one, one)).shape[1]
    return [f"{metric.name}_{number}" for number in range(width)]


def _partial(batch: pa.RecordBatch, metrics: Sequence[Metric], names: Sequence[str]) -> pa.RecordBatch:
    """Sums of the columns ``names`` of the metrics by (model, slice, user) over some rows [N]."""
    table = pa.Table.from_batches([batch])
    data = Labelled(*(table[name].to_numpy() for name in ("label", "score", "weight")))
    columns_NC: Floats = np.hstack([metric.compute.columns(data) for metric in metrics])
    keyed = table.select(["model", "slice", "user"])
    for number, name in enumerate(names):
        keyed = keyed.append_column(name, pa.array(columns_NC[:, number]))
    return sum_by_user(keyed, names)


def sum_by_user(rows: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """Columns ``names`` added up by (model, slice, user)."""
    keys = ["model", "slice", "user"]
    summed = rows.group_by(keys).aggregate([(name, "sum") for name in names])
    renamed = summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names])
    return renamed.select([*keys, *names]).combine_chunks().to_batches()[0]
