"""What the users' sums of a Spark table come to: every metric's value and interval.

The driver gets sums over users, one row per (model, slice), and one per (model, slice, draw) of the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_, sub
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats, gap, ratio
from roilake.metrics.intervals import NAN, Estimate, Kind, normal_estimate, poisson_weights, quantiles
from roilake.metrics.registry import kind_of, parse
from roilake.metrics.table_scores import GROUP, KEYS, columns_of, model_and_slice, sums_of

LINEAR = ("auc", "pr_auc", "coverage")
"""Metrics whose interval comes from each user's part of the error (``Linear``); the others are ``Summed``."""
Group = tuple[int, str]
"""Model and slice; model 2 is the first minus the second."""
Sums = dict[Group, dict[str, float]]


def _summed(name: str) -> tuple[list[str], Callable[[Floats], Any]]:
    """The columns that a metric is a function of, and the function."""
    metric = parse(name)[0]
    if metric.inputs == "probabilities":
        return columns_of(metric), metric.compute.value
    if metric.name == "ks":
        return ["upto_positive", "positive", "upto_negative", "negative"], gap
    return [f"{name}_0", f"{name}_1"], ratio


@dataclass(frozen=True)
class Totals:
    """``columns`` of sums by (model, slice, user), and what the ``metrics`` come to."""

    by_user: DataFrame
    columns: Sequence[str]
    metrics: Sequence[str]
    draws: int
    seed: int

    def estimates(self) -> dict[tuple[int, str, str], Estimate]:
        """By (model, slice, metric); model 2 is the first minus the second."""
        found = {}
        for model, name in self._totals:
            differences = {2: [(0, name), (1, name)]} if model == 1 else {}
            for number, groups in {model: [(model, name)], **differences}.items():
                for metric in self.metrics:
                    estimate = self._bootstrapped if metric in self._bootstrap else self._linear
                    found[number, name, metric] = estimate(metric, groups)
        return found

    @cached_property
    def _bootstrap(self) -> list[str]:
        """The metrics whose interval is drawn."""
        return [name for name in self.metrics if kind_of(name) not in LINEAR]

    @cached_property
    def _totals(self) -> Sums:
        """Sums of all columns by (model, slice), and how many users each metric rests on."""
        held = [F.sum((F.col("holds_positive") + F.col("holds_negative") > 0).cast("double")).alias("holders")]
        for metric in self._bootstrap:
            some = reduce(or_, (F.col(f"`{name}`") != 0 for name in _summed(metric)[0]))
            held.append(F.sum(some.cast("double")).alias(f"users {metric}"))
        return _by_group(self.by_user.groupBy(*GROUP).agg(*sums_of(self.columns), *held))

    @cached_property
    def _drawn(self) -> dict[Group, pd.DataFrame]:
        """Sums of the columns in each bootstrap draw [D]: added up where the users are, then over the tasks."""
        columns = list(dict.fromkeys(column for name in self._bootstrap for column in _summed(name)[0]))
        draws, seed = self.draws, self.seed

        def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            sums: dict[Group, Floats] = {}
            for batch in batches:
                _add_draws(sums, batch.to_pandas(), columns, draws, seed)
            for (model, name), sums_DC in sums.items():
                keys = {"model": pa.array([model] * draws, pa.int32()), "slice": pa.array([name] * draws)}
                numbers = pa.array(range(draws), pa.int32())
                drawn = dict(zip(columns, sums_DC.T, strict=True))
                yield from pa.table({**keys, "draw": numbers, **drawn}).to_batches()

        schema = "model int, slice string, draw int, " + ", ".join(f"`{name}` double" for name in columns)
        added = self.by_user.mapInArrow(work, schema).groupBy(*GROUP, "draw").agg(*sums_of(columns))
        return dict(list(added.toArrow().to_pandas().sort_values("draw").groupby(list(GROUP))))

    def _bootstrapped(self, metric: str, groups: Sequence[Group]) -> Estimate:
        """Of the first of ``groups``, or of it minus the second, by the quantiles of the draws."""
        columns, function = _summed(metric)
        totals = [self._totals[group] for group in groups]
        value = float(reduce(sub, (function(np.array([total[name] for name in columns])) for total in totals)))
        count = int(min(total[_count_of(metric)] for total in totals))
        if np.isnan(value) or self.draws < 2 or min(total[f"users {metric}"] for total in totals) < 2:
            return Estimate(value, NAN, NAN, count)
        sums_DC = (np.stack([self._drawn[group][name] for name in columns], 1) for group in groups)
        return Estimate(value, *quantiles(reduce(sub, map(function, sums_DC))), count)

    @cached_property
    def _squares(self) -> Sums:
        """Sums over users of p^2, q^2 and pq of each linear metric (see ``Linear``)."""
        metrics = [name for name in self.metrics if name not in self._bootstrap]
        constants = [
            (*group, *(x for m in metrics for x in _constants(m, total))) for group, total in self._totals.items()
        ]
        held = ", ".join(f"`{part} {m}` double" for m in metrics for part in ("value", "up", "down"))
        table = self.by_user.sparkSession.createDataFrame(constants, f"model int, slice string, {held}")
        joined = self.by_user.join(F.broadcast(table), on=list(GROUP), how="inner")
        each = joined.select(*KEYS, *(column for metric in metrics for column in _parts(metric)))
        sign = F.when(F.col("model") == 0, 1.0).otherwise(-1.0)
        signed = [F.sum(sign * F.col(f"`{part} {m}`")).alias(f"{part} {m}") for m in metrics for part in "pq"]
        both = each.unionByName(each.groupBy("slice", "user").agg(*signed).withColumn("model", F.lit(2)))
        products = [
            F.sum(F.col(f"`{a} {m}`") * F.col(f"`{b} {m}`")).alias(f"{a}{b} {m}")
            for m in metrics
            for a, b in ("pp", "qq", "pq")
        ]
        return _by_group(both.groupBy(*GROUP).agg(*products))

    def _linear(self, metric: str, groups: Sequence[Group]) -> Estimate:
        """Of the first of ``groups``, or of it minus the second, by Obuchowski's variance."""
        value = reduce(sub, (_constants(metric, self._totals[group])[0] for group in groups))
        total, slice_name = self._totals[groups[0]], groups[0][1]
        count = int(total[_count_of(metric)])
        holders = int(total["holds_positive"]), int(total["holds_negative"]), int(total["holders"])
        if kind_of(metric) == "coverage":
            holders = (count, count, count)
        alone: Kind = "share" if kind_of(metric) == "coverage" else "area"
        kind: Kind = alone if len(groups) == 1 else "difference"
        squares = self._squares[(2, slice_name) if kind == "difference" else groups[0]]
        products = [squares[f"{name} {metric}"] for name in ("pp", "qq", "pq")]
        return normal_estimate(value, products, holders, count, kind)


def _by_group(sums: DataFrame) -> Sums:
    """The rows of a small table, by (model, slice)."""
    return {model_and_slice(row): row.asDict() for row in sums.collect()}


def _count_of(metric: str) -> str:
    """The column that counts what a metric rests on."""
    inputs = parse(metric)[0].inputs
    return {"scores": "positives", "probabilities": "rows"}.get(inputs, f"{metric}_n")


def _constants(metric: str, total: dict[str, float]) -> tuple[float, float, float]:
    """The value of a linear metric, and 1 over the weight of positives and of negatives (coverage: mean loss, and
    (n - 1) / n)."""
    if kind_of(metric) == "coverage":
        n = total[f"{metric}_n"]
        return (total[f"{metric}_1"], total[f"{metric}_0"] / n, (n - 1) / n) if n else (NAN, 0.0, 0.0)
    up, down = (1 / total[name] if total[name] > 0 else 0.0 for name in ("positive", "negative"))
    if kind_of(metric) == "auc":
        return (total["beaten"] * up * down if up and down else NAN), up, down
    return (total["precise"] * up if up else NAN), up, down


def _parts(metric: str) -> tuple[Column, Column]:
    """Each user's p and q (see ``Linear``)."""
    value, up, down = (F.col(f"`{part} {metric}`") for part in ("value", "up", "down"))
    kind = kind_of(metric)
    if kind == "coverage":
        p, q = F.col(f"`{metric}_n`") * (F.col(f"`{metric}_0`") - up) * down, F.lit(0.0)
    elif kind == "auc":
        p = (F.col("beaten") * down - value * F.col("positive")) * up
        q = (F.col("beating") * up - value * F.col("negative")) * down
    else:
        p, q = (F.col("own") - value * F.col("positive")) * up, -F.col("loss") * up
    return p.alias(f"p {metric}"), q.alias(f"q {metric}")


def _add_draws(sums: dict[Group, Floats], rows: pd.DataFrame, columns: Sequence[str], draws: int, seed: int) -> None:
    """Add each group's columns in every draw [D, C] to ``sums``, over some users' rows."""
    users, user_N = np.unique(rows["user"], return_inverse=True)
    weights_DU = poisson_weights(users, draws, seed)
    values_NC = np.stack([rows[name] for name in columns], 1)
    for group, mine in rows.groupby(list(GROUP)).indices.items():
        sums[group] = sums.get(group, 0.0) + weights_DU[:, user_N[mine]] @ values_NC[mine]
