"""Metrics of rankings and whole lists over a Spark table: rows become one row per request with the ranks of its
positives and what it shows first; both fit in memory, its candidates need not.

Rows here have columns model (0 or 1), slice, user, request, item, label, score, weight; results are sums by (model,
slice, user)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats
from roilake.metrics.lists import Catalogue, top_lists
from roilake.metrics.ranking import Ranks
from roilake.metrics.registry import parse
from roilake.metrics.table_scores import GROUP, sum_by_user


def ranked(rows: DataFrame) -> DataFrame:
    """Rows with their ``rank`` in the request's list: higher score first, ties by lower item."""
    order = Window.partitionBy(*GROUP, "request").orderBy(F.desc("score"), "item")
    return rows.withColumn("rank", F.row_number().over(order).cast("long"))


def list_sums(ranked_rows: DataFrame, metrics: Sequence[str], catalogue: DataFrame | None) -> DataFrame:
    """``METRIC_0`` (weight times value), ``METRIC_1`` (weight; for popularity bias the weight times the chosen items'
    events) and ``METRIC_n`` (requests with a value) of every metric, summed by (model, slice, user)."""
    total = 0.0
    if catalogue is None:
        empty = (F.lit(0.0).alias("events"), F.array(F.lit(0.0)).alias("vector"))
        ranked_rows = ranked_rows.select("*", *empty)
    else:
        found = catalogue.agg(F.sum("events"), F.count("*")).first()
        total = float((found[0] or 0) + found[1]) if found else 0.0
        ranked_rows = ranked_rows.join(catalogue.select("item", "events", "vector"), on="item", how="left")
    depth = max((k or 0 for metric, k in map(parse, metrics) if metric.inputs == "lists"), default=0)
    held = ranked_rows.where((F.col("rank") <= depth) | (F.col("label") == 1))
    entry = F.struct("rank", "label", "events", "vector")
    requests = held.groupBy(*GROUP, "request").agg(
        F.first("user").alias("user"), F.first("weight").alias("weight"), F.collect_list(entry).alias("entries")
    )
    columns = [f"{name}_{part}" for name in metrics for part in ("0", "1", "n")]

    def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _partial(pa.Table.from_batches([batch]), metrics, columns, total)

    schema = "model int, slice string, user long, " + ", ".join(f"`{name}` double" for name in columns)
    partial = requests.drop("request").mapInArrow(work, schema)
    return partial.groupBy(*GROUP, "user").agg(*(F.sum(f"`{name}`").alias(name) for name in columns))


def _partial(requests: pa.Table, metrics: Sequence[str], columns: Sequence[str], total: float) -> pa.RecordBatch:
    """Sums of ``columns`` by (model, slice, user) over some requests [R], each with a list of entries (rank, label,
    events, vector), N of them in all. ``total`` is the catalogue's, as in ``lists.Catalogue``."""
    count = requests.num_rows
    lengths_R = pc.list_value_length(requests["entries"]).to_numpy()
    request_N = np.repeat(np.arange(count), lengths_R)
    entries = pc.list_flatten(requests["entries"]).combine_chunks()
    rank_N, label_N, events_N = (
        pc.struct_field(entries, name).to_numpy(zero_copy_only=False) for name in ("rank", "label", "events")
    )
    vectors_ND = _vectors(pc.struct_field(entries, "vector")) if len(entries) else np.zeros((0, 1))
    catalogue = Catalogue(events_N, vectors_ND, total)
    positive = label_N == 1
    ranks = Ranks.of(rank_N[positive], request_N[positive], count)
    chosen_R = _means(events_N[positive], request_N[positive], count)
    weight_R = requests["weight"].to_numpy()
    sums: dict[str, Floats] = {}
    for name in metrics:
        metric, k = parse(name)
        bottoms_R = chosen_R if metric.name == "popularity_bias" else np.ones(count)
        if metric.inputs == "ranks":
            tops_R = metric.compute(ranks, k)
        else:
            tops_R = metric.compute(top_lists(request_N, rank_N, np.arange(len(rank_N)), count, k or 1), catalogue)
        known = ~(np.isnan(tops_R) | np.isnan(bottoms_R))
        sums[f"{name}_0"], sums[f"{name}_1"] = (np.where(known, each, 0.0) * weight_R for each in (tops_R, bottoms_R))
        sums[f"{name}_1"] = sums[f"{name}_1"] * known
        sums[f"{name}_n"] = known * 1.0
    keyed = requests.select(["model", "slice", "user"])
    table = pa.table({**{name: keyed[name] for name in keyed.column_names}, **sums})
    return sum_by_user(table, columns)


def _means(values_N: NDArray, request_N: NDArray, count: int) -> Floats:
    """Mean value of each request [R]; NaN without one."""
    held = np.bincount(request_N, minlength=count)
    return np.where(held > 0, np.bincount(request_N, values_N, count) / np.maximum(held, 1), np.nan)


def _vectors(column: pa.Array) -> Floats:
    """Vectors [N, D] from a list column; zeros for null."""
    width = max(pc.max(pc.list_value_length(column)).as_py() or 1, 1)
    flat = pc.list_flatten(pc.fill_null(column, pa.scalar([0.0] * width, column.type)))
    return flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(column), width)


def coverage_sums(ranked_rows: DataFrame, name: str) -> DataFrame:
    """``NAME_0``: items that are in this user's lists alone; ``NAME_1``: items counted by the lowest of their users;
    ``NAME_n``: 1, by (model, slice, user) for all users with a list."""
    k = parse(name)[1] or 1
    shown = ranked_rows.where((F.col("rank") <= k) & (F.col("weight") > 0)).select(*GROUP, "item", "user").distinct()
    items = shown.groupBy(*GROUP, "item").agg(F.count("*").alias("holders"), F.min("user").alias("user"))
    alone = (F.col("holders") == 1).cast("double").alias(f"{name}_0")
    counted = items.select(*GROUP, "user", alone, F.lit(1.0).alias(f"{name}_1"), F.lit(0.0).alias(f"{name}_n"))
    zero = F.lit(0.0)
    users = shown.select(*GROUP, "user").distinct()
    present = users.select("*", zero.alias(f"{name}_0"), zero.alias(f"{name}_1"), F.lit(1.0).alias(f"{name}_n"))
    columns = [F.sum(f"`{name}_{part}`").alias(f"{name}_{part}") for part in ("0", "1", "n")]
    return counted.unionByName(present).groupBy(*GROUP, "user").agg(*columns)
