"""Metrics of scores over a Spark table: exact, with no more in one task than one range of the scores.

A table's scores are cut into ranges by quantiles. What lies below a range is two numbers, its positives and its
negatives, so each range is worked on alone, and equal scores never lie in two. Rows here have columns model (0 or 1),
slice, user, label, score, weight; results are sums by (model, slice, user)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from roilake.metrics.classification import GAUC, ROUNDING, Floats, GroupWeight, Labelled, Steps
from roilake.metrics.observed import by_user, pr_slopes
from roilake.metrics.registry import Metric, parse

RANGE = 100_000
"""About this many rows lie in a range of the scores."""
MOST = 4096
"""Ranges at most."""
GROUP = ("model", "slice")
KEYS = (*GROUP, "user")
SCORES = ("auc", *GAUC, "pr_auc", "ks")
"""Metrics of scores of any scale that have sums over ranges."""
SUMMED = ("positive", "negative", "precise", "beaten", "beating", "own", "loss", "upto_positive", "upto_negative")
"""By user: weight of positives and negatives; that of positives times the precision at their score; weight times
what a row beats, or what beats it, of the other class; weight times slope of PR-AUC of positives and of negatives;
weight up to the threshold with the range's largest gap between the classes."""
OF_RANGE = ("gain_slope", "loss_slope", "gap")


def sums_of(names: Iterable[str]) -> list[Column]:
    """The sum of each column, under its name."""
    return [F.sum(f"`{name}`").alias(name) for name in names]


def model_and_slice(row: Any) -> tuple[int, str]:
    """The (model, slice) of a row."""
    return row["model"], row["slice"]


def sum_batches(
    rows: DataFrame, names: Sequence[str], columns: Callable[[pa.Table], Mapping[str, Floats]]
) -> DataFrame:
    """The columns ``names`` that ``columns`` makes of a batch of rows, added up by (model, slice, user): in the tasks,
    then over them."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                table = pa.table({**{key: batch[key] for key in KEYS}, **columns(pa.Table.from_batches([batch]))})
                summed = table.group_by(list(KEYS)).aggregate([(name, "sum") for name in names])
                own = summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names])
                yield from own.select([*KEYS, *names]).combine_chunks().to_batches()

    schema = "model int, slice string, user long, " + ", ".join(f"`{name}` double" for name in names)
    return rows.mapInArrow(work, schema).groupBy(*KEYS).agg(*sums_of(names))


def sums_of_scores(rows: DataFrame, metrics: Sequence[str], count: int, held: list[DataFrame]) -> Iterator[DataFrame]:
    """Tables of those of the metrics of these ``count`` rows that are of scores or probabilities. What is read twice is
    persisted and put in ``held``."""
    parsed = [parse(name)[0] for name in metrics]
    kinds = {metric.name for metric in parsed}
    if {"auc", "pr_auc", "ks"} & kinds:
        bounds = range_bounds(rows.where(F.col("slice") == "all").select("score"), count)
        held.append(range_sums(rows, bounds).persist(StorageLevel.MEMORY_AND_DISK))
        yield score_sums(held[-1])
    if weights := {name: GAUC[name] for name in GAUC if name in kinds}:
        yield group_sums(rows, weights)
    if probabilities := [metric for metric in parsed if metric.inputs == "probabilities"]:
        yield probability_sums(rows, probabilities)


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


def range_sums(rows: DataFrame, bounds: Sequence[float]) -> DataFrame:
    """Sums of SUMMED by (model, slice, range, user), and OF_RANGE in a row with user null for each range."""
    ranged = rows.withColumn("range", range_of(bounds))
    masses = ranged.groupBy(*GROUP, "range").agg(
        F.sum(F.col("weight") * F.col("label")).alias("positive"),
        F.sum(F.col("weight") * (1 - F.col("label"))).alias("negative"),
    )
    below, total = _offsets(masses.orderBy(*GROUP, "range").collect())

    def work(key: tuple[Any, ...], table: pa.Table) -> pa.Table:
        *group, number = (each.as_py() for each in key)
        return _sums_of_range(key, table, below[*group, number], total[*group])

    numbers = ", ".join(f"`{name}` double" for name in (*SUMMED, *OF_RANGE))
    schema = f"model int, slice string, `range` int, user long, {numbers}"
    return ranged.groupBy(*GROUP, "range").applyInArrow(work, schema)


def _offsets(masses: Sequence[Any]) -> tuple[dict[tuple, tuple[float, float]], dict[tuple, tuple[float, float]]]:
    """(positive, negative) weight below each range and in all of its group."""
    below: dict[tuple, tuple[float, float]] = {}
    total: dict[tuple, tuple[float, float]] = {}
    for row in masses:
        before = total.get(model_and_slice(row), (0.0, 0.0))
        below[*model_and_slice(row), row["range"]] = before
        total[model_and_slice(row)] = (before[0] + row["positive"], before[1] + row["negative"])
    return below, total


def _sums_of_range(
    key: Sequence[pa.Scalar], table: pa.Table, below: tuple[float, float], total: tuple[float, float]
) -> pa.Table:
    """SUMMED by user, and a last row of OF_RANGE, of the rows [N] of one (model, slice, range)."""
    data = Labelled(*(table[name].to_numpy() for name in ("label", "score", "weight")))
    users, user_N = np.unique(table["user"].to_numpy(), return_inverse=True)
    steps = Steps.of(data, below, total)
    gain_T, loss_T = pr_slopes(steps)
    gap_T = abs(steps.gaps()) if steps.defined else np.zeros(len(gain_T))
    best = steps.widest if steps.defined else 0
    sums_UC = by_user(_of_rows(data, steps, gain_T, loss_T, best), user_N, len(users))
    of_range = zip(OF_RANGE, (gain_T.sum(), loss_T.sum(), gap_T[best]), strict=True)
    return pa.table(
        {
            **{name: pa.repeat(value, len(users) + 1) for name, value in zip((*GROUP, "range"), key, strict=True)},
            "user": pa.array([*users.tolist(), None], pa.int64()),
            **{name: np.r_[sums_U, 0.0] for name, sums_U in zip(SUMMED, sums_UC.T, strict=True)},
            **{name: np.r_[np.zeros(len(users)), value] for name, value in of_range},
        }
    )


def _of_rows(data: Labelled, steps: Steps, gain_T: Floats, loss_T: Floats, best: int) -> list[Floats]:
    """SUMMED of each row [N]; step ``best`` has the range's largest gap."""
    (positive_N, negative_N), step_N = data.masses, steps.step_N
    slope_T, upto_N = gain_T.cumsum() - loss_T.cumsum(), step_N <= best
    return [
        positive_N,
        negative_N,
        positive_N * steps.precision()[step_N],
        positive_N * steps.beaten()[step_N],
        negative_N * steps.beating()[step_N],
        positive_N * (steps.precision() + slope_T)[step_N],
        negative_N * loss_T.cumsum()[step_N],
        positive_N * upto_N,
        negative_N * upto_N,
    ]


def score_sums(ranges: DataFrame) -> DataFrame:
    """SUMMED by (model, slice, user) from ``range_sums``: each range's are moved by what lies below it, known when all
    are done."""
    totals = ranges.where(F.col("user").isNull()).orderBy(*GROUP, "range").collect()
    moves = []
    for group, found in groupby(totals, key=model_and_slice):
        rows, slope, loss = list(found), 0.0, 0.0
        largest = max(row["gap"] for row in rows)
        widest = min(row["range"] for row in rows if row["gap"] >= largest - ROUNDING)
        for row in rows:
            under, at = float(row["range"] < widest), float(row["range"] == widest)
            moves.append((*group, row["range"], slope, loss, under, at))
            slope, loss = slope + row["gain_slope"] - row["loss_slope"], loss + row["loss_slope"]
    schema = "model int, slice string, `range` int, slope double, below double, under double, at double"
    table = F.broadcast(ranges.sparkSession.createDataFrame(moves, schema))
    moved = ranges.where(F.col("user").isNotNull()).join(table, on=[*GROUP, "range"], how="inner")
    positive, negative = F.col("positive"), F.col("negative")
    return moved.groupBy(*KEYS).agg(
        *sums_of(("positive", "negative", "precise", "beaten", "beating")),
        F.sum(F.col("own") + F.col("slope") * positive).alias("own"),
        F.sum(F.col("loss") + F.col("below") * negative).alias("loss"),
        F.sum(F.col("under") * positive + F.col("at") * F.col("upto_positive")).alias("upto_positive"),
        F.sum(F.col("under") * negative + F.col("at") * F.col("upto_negative")).alias("upto_negative"),
    )


def group_sums(rows: DataFrame, weights: Mapping[str, GroupWeight]) -> DataFrame:
    """GAUC by (model, slice, user), by each of the ``weights``: ``METRIC_0``, the user's AUC times its weight, and
    ``METRIC_1``, that weight."""
    steps = rows.groupBy(*KEYS, "score").agg(
        F.sum(F.col("weight") * F.col("label")).alias("p"), F.sum(F.col("weight") * (1 - F.col("label"))).alias("q")
    )
    upto = Window.partitionBy(*KEYS).orderBy("score").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    sums = (
        steps.withColumn("beaten", F.sum("q").over(upto) - F.col("q") / 2)
        .groupBy(*KEYS)
        .agg(F.sum(F.col("p") * F.col("beaten")).alias("won"), F.sum("p").alias("p"), F.sum("q").alias("q"))
    )
    p, q = F.col("p"), F.col("q")
    area = F.when(p * q > 0, F.col("won") / F.nullif(p * q, F.lit(0.0))).otherwise(0.5)
    found = []
    for name, weight in weights.items():
        mass = F.when((p + q > 0) if weight.one_class else (p * q > 0), weight.of(p, q)).otherwise(0.0)
        found += [(area * mass).alias(f"{name}_0"), mass.alias(f"{name}_1")]
    return sums.select(*KEYS, *found)


def probability_sums(rows: DataFrame, metrics: Sequence[Metric]) -> DataFrame:
    """Columns ``METRIC_0``, ``METRIC_1``, ... of the metrics of probabilities, summed by (model, slice, user)."""
    names = [name for metric in metrics for name in columns_of(metric)]

    def columns(table: pa.Table) -> dict[str, Floats]:
        data = Labelled(*(table[name].to_numpy() for name in ("label", "score", "weight")))
        columns_NC = np.hstack([metric.compute.columns(data) for metric in metrics])
        return dict(zip(names, columns_NC.T, strict=True))

    return sum_batches(rows.select(*KEYS, "label", "score", "weight"), names, columns)


def columns_of(metric: Metric) -> list[str]:
    """Names of the columns that a metric of probabilities is a function of."""
    one = np.zeros(1)
    width = metric.compute.columns(Labelled(one, one, one)).shape[1]
    return [f"{metric.name}_{number}" for number in range(width)]
