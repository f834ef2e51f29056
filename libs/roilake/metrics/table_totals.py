"""What the users' sums of a Spark table come to: every metric's value and interval.

The driver gets sums over users, one row per (model, slice), and one per (model, slice, draw) of the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats, gap, ratio
from roilake.metrics.intervals import NAN, Z95, Estimate, obuchowski, poisson_weights, quantiles
from roilake.metrics.registry import kind_of, parse
from roilake.metrics.table_scores import GROUP, columns_of

LINEAR = ("auc", "pr_auc", "coverage")
"""Metrics whose interval comes from each user's part of the error (``Linear``); the others are ``Summed``."""


def is_linear(name: str) -> bool:
    """Whether a metric is among LINEAR."""
    return kind_of(name) in LINEAR


def _summed(name: str) -> tuple[list[str], Callable[[Floats], Any]]:
    """The columns that a metric is a function of, and the function."""
    metric = parse(name)[0]
    if metric.inputs == "probabilities":
        return columns_of(metric), metric.compute.value
    if metric.name == "ks":
        return ["upto_positive", "positive", "upto_negative", "negative"], gap
    return ["area", "mass"] if metric.name == "gauc" else [f"{name}_0", f"{name}_1"], ratio


@dataclass(frozen=True)
class Totals:
    """Sums by (model, slice, user) and what they come to."""

    by_user: DataFrame
    columns: tuple[str, ...]
    draws: int
    seed: int

    def estimates(self, metrics: Sequence[str]) -> dict[tuple[int, str, str], Estimate]:
        """By (model, slice, metric); model 2 is the first minus the second."""
        totals = self._totals(metrics)
        summed = [name for name in metrics if not is_linear(name)]
        drawn = self._drawn(tuple(dict.fromkeys(column for name in summed for column in _summed(name)[0])))
        squares = self._squares([name for name in metrics if name not in summed], totals)
        found = {}
        for model, name in totals:
            wanted = {model: [(model, name)]} | ({2: [(0, name), (1, name)]} if model == 1 else {})
            for metric, (number, groups) in product(metrics, wanted.items()):
                found[number, name, metric] = (
                    self._linear(metric, groups, totals, squares)
                    if is_linear(metric)
                    else self._bootstrapped(metric, groups, totals, drawn)
                )
        return found

    def _totals(self, metrics: Sequence[str]) -> dict[tuple[int, str], dict[str, float]]:
        """Sums of all columns by (model, slice), and how many users each metric rests on."""
        sums = [F.sum(f"`{name}`").alias(name) for name in self.columns]
        held = [F.sum((F.col("holds_positive") + F.col("holds_negative") > 0).cast("double")).alias("holders")]
        for metric in metrics:
            if not is_linear(metric):
                some = reduce(lambda a, b: a | b, (F.col(f"`{name}`") != 0 for name in _summed(metric)[0]))
                held.append(F.sum(some.cast("double")).alias(f"users {metric}"))
        rows = self.by_user.groupBy(*GROUP).agg(*sums, *held).collect()
        return {(row["model"], row["slice"]): row.asDict() for row in rows}

    def _drawn(self, columns: tuple[str, ...]) -> dict[tuple[int, str], dict[str, Floats]]:
        """Sums of the columns in each bootstrap draw [D]: added up where the users are, then over the tasks."""
        draws, seed = self.draws, self.seed
        if not columns:
            return {}

        def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            sums: dict[tuple[int, str], Floats] = {}
            for batch in batches:
                _add_draws(sums, pa.Table.from_batches([batch]), columns, draws, seed)
            for (model, name), sums_DC in sums.items():
                keys = [pa.array([each] * draws) for each in (model, name)]
                values = [pa.array(sums_DC[:, number]) for number in range(len(columns))]
                parts = [keys[0].cast(pa.int32()), keys[1], pa.array(range(draws), pa.int32()), *values]
                yield pa.RecordBatch.from_arrays(parts, names=["model", "slice", "draw", *columns])

        schema = "model int, slice string, draw int, " + ", ".join(f"`{name}` double" for name in columns)
        added = self.by_user.mapInArrow(work, schema).groupBy(*GROUP, "draw")
        table = added.agg(*(F.sum(f"`{name}`").alias(name) for name in columns)).toArrow().sort_by("draw")
        found = {}
        for model, name in {*zip(table["model"].to_pylist(), table["slice"].to_pylist(), strict=True)}:
            mine = (table["model"].to_numpy() == model) & (table["slice"].to_numpy() == name)
            found[model, name] = {each: table[each].to_numpy()[mine] for each in columns}
        return found

    def _bootstrapped(
        self,
        metric: str,
        groups: Sequence[tuple[int, str]],
        totals: dict[tuple[int, str], dict[str, float]],
        drawn: dict[tuple[int, str], dict[str, Floats]],
    ) -> Estimate:
        """Of the first of ``groups``, or of it minus the second, by the quantiles of the draws [D]."""
        columns, value = _summed(metric)
        sign = (1.0, -1.0)
        values = [float(value(np.array([totals[group][name] for name in columns]))) for group in groups]
        number = float(sum(s * v for s, v in zip(sign, values, strict=False)))
        count = int(min(totals[group][_count_of(metric)] for group in groups))
        if np.isnan(number) or self.draws < 2 or totals[groups[0]][f"users {metric}"] < 2:
            return Estimate(number, NAN, NAN, count)
        parts = [
            s * value(np.stack([drawn[group][name] for name in columns], 1))
            for s, group in zip(sign, groups, strict=False)
        ]
        return Estimate(number, *quantiles(sum(parts[1:], parts[0])), count)

    def _squares(
        self, metrics: Sequence[str], totals: dict[tuple[int, str], dict[str, float]]
    ) -> dict[tuple[int, str], dict[str, float]]:
        """Sums over users of p^2, q^2 and pq of each metric (see ``Linear``), by model; 2 is the difference."""
        if not metrics:
            return {}
        constants = [(*group, *(x for m in metrics for x in _constants(m, total))) for group, total in totals.items()]
        held = ", ".join(f"`{part} {m}` double" for m in metrics for part in ("value", "up", "down"))
        table = self.by_user.sparkSession.createDataFrame(constants, f"model int, slice string, {held}")
        joined = self.by_user.join(F.broadcast(table), on=list(GROUP), how="inner")
        parts = [column for metric in metrics for column in _parts(metric)]
        each = joined.select(*GROUP, "user", *parts)
        names_of = [name for name in each.columns if name not in (*GROUP, "user")]
        sign = F.when(F.col("model") == 0, 1.0).otherwise(-1.0)
        paired = each.groupBy("slice", "user").agg(*(F.sum(sign * F.col(f"`{n}`")).alias(n) for n in names_of))
        both = each.unionByName(paired.withColumn("model", F.lit(2)))
        products = [
            F.sum(F.col(f"`{a} {m}`") * F.col(f"`{b} {m}`")).alias(f"{a}{b} {m}")
            for m in metrics
            for a, b in ("pp", "qq", "pq")
        ]
        rows = both.groupBy(*GROUP).agg(*products).collect()
        return {(row["model"], row["slice"]): row.asDict() for row in rows}

    def _linear(
        self,
        metric: str,
        groups: Sequence[tuple[int, str]],
        totals: dict[tuple[int, str], dict[str, float]],
        squares: dict[tuple[int, str], dict[str, float]],
    ) -> Estimate:
        """Of the first of ``groups``, or of it minus the second, by Obuchowski's variance."""
        values = [_constants(metric, totals[group])[0] for group in groups]
        value = values[0] - values[1] if len(values) > 1 else values[0]
        total = totals[groups[0]]
        count = int(total[_count_of(metric)])
        if np.isnan(value):
            return Estimate(NAN, NAN, NAN, count)
        holders = int(total["holds_positive"]), int(total["holds_negative"]), int(total["holders"])
        if kind_of(metric) == "coverage":
            holders = (count, count, count)
        found = squares[(2, groups[0][1]) if len(groups) > 1 else groups[0]]
        variance = obuchowski(found[f"pp {metric}"], found[f"qq {metric}"], found[f"pq {metric}"], holders)
        half = Z95 * float(np.sqrt(variance))
        return Estimate(value, value - half, value + half, count)


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


def _add_draws(
    sums: dict[tuple[int, str], Floats], table: pa.Table, columns: Sequence[str], draws: int, seed: int
) -> None:
    """Add each group's columns in every draw [D, C] to ``sums``, over some users' rows."""
    if not table.num_rows:
        return
    users, user_N = np.unique(table["user"].to_numpy(), return_inverse=True)
    weights_DU = poisson_weights(users, draws, seed)
    values_NC = np.stack([table[name].to_numpy() for name in columns], 1)
    model_N = table["model"].to_numpy()
    slices, slice_N = np.unique(table["slice"].to_numpy(zero_copy_only=False), return_inverse=True)
    for model, number in {*zip(model_N.tolist(), slice_N.tolist(), strict=True)}:
        mine = (model_N == model) & (slice_N == number)
        group = (model, str(slices[number]))
        sums.setdefault(group, np.zeros((draws, len(columns))))
        sums[group] += weights_DU[:, user_N[mine]] @ values_NC[mine]
