"""Metrics of rankings and whole lists over a Spark table: rows become one row per request with the ranks of its
positives and what it shows first; both fit in memory, its candidates need not.

Rows here have columns model (0 or 1), slice, user, request, item, label, score, weight, shown; results are sums by
(model, slice, user)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats
from roilake.metrics.lists import Catalogue, Lists
from roilake.metrics.ranking import NEVER
from roilake.metrics.registry import kind_of, parse
from roilake.metrics.table_catalogue import TableCatalogue
from roilake.metrics.table_scores import GROUP, KEYS, sum_batches


def sums_of_lists(rows: DataFrame, metrics: Sequence[str], catalogue: TableCatalogue | None) -> Iterator[DataFrame]:
    """Tables of those of the metrics that are of ranks or lists: higher score first, ties by lower item."""
    listed = [name for name in metrics if parse(name)[0].inputs in ("ranks", "lists")]
    covering = [name for name in listed if kind_of(name) == "coverage"]
    others = [name for name in listed if name not in covering]
    order = Window.partitionBy(*GROUP, "request").orderBy(F.desc("shown"), F.desc("score"), "item")
    if listed:
        rank = F.when(F.col("shown") == 1, F.row_number().over(order).cast("long")).otherwise(F.lit(NEVER))
        rows = rows.withColumn("rank", rank)
    if others:
        yield list_sums(rows, others, catalogue)
    if covering and catalogue is not None:
        yield from (coverage_sums(rows, name, max(catalogue.count, 1)) for name in covering)


def list_sums(ranked_rows: DataFrame, metrics: Sequence[str], catalogue: TableCatalogue | None) -> DataFrame:
    """``METRIC_0`` (weight times value), ``METRIC_1`` (weight; for popularity bias the weight times the chosen items'
    events) and ``METRIC_n`` (requests with a value) of every metric, summed by (model, slice, user)."""
    depths = [_last(k) for metric, k in map(parse, metrics) if metric.inputs == "lists"]
    if catalogue is None or not depths:
        empty = (F.lit(0.0).alias("events"), F.array(F.lit(0.0)).alias("vector"))
        ranked_rows = ranked_rows.select("*", *empty)
    else:
        ranked_rows = ranked_rows.join(catalogue.items, on="item", how="left")
    held = (F.col("rank") <= max(depths, default=0)) | (F.col("label") == 1)
    entry = F.when(held, F.struct("rank", "label", "events", "vector"))
    requests = ranked_rows.groupBy(*GROUP, "request").agg(  # all of them: some count without an entry
        F.first("user").alias("user"), F.first("weight").alias("weight"), F.collect_list(entry).alias("entries")
    )
    names = [f"{name}_{part}" for name in metrics for part in ("0", "1", "n")]
    sizes = (0.0, 0) if catalogue is None else (catalogue.total, catalogue.count)
    return sum_batches(requests.drop("request"), names, lambda batch: _of_requests(batch, metrics, *sizes))


def _last(k: int | None) -> int:
    """The last rank that a list of K shows."""
    return min(k or 1, NEVER - 1)


def _of_requests(requests: pa.Table, metrics: Sequence[str], total: float, count: int) -> dict[str, Floats]:
    """What ``list_sums`` adds up, of some requests [R]. ``total`` and ``count`` are as in ``lists.Catalogue``."""
    (lists, catalogue), weight_R = _lists(requests, total, count), requests["weight"].to_numpy()
    found: dict[str, Floats] = {}
    for name in metrics:
        values_R, bottoms_R = lists.values(*parse(name), catalogue)
        known_R = ~(np.isnan(values_R) | np.isnan(bottoms_R))
        found[f"{name}_0"] = np.where(known_R, values_R, 0.0) * weight_R
        found[f"{name}_1"] = np.where(known_R, bottoms_R, 0.0) * weight_R
        found[f"{name}_n"] = known_R * 1.0
    return found


def _lists(requests: pa.Table, total: float, count: int) -> tuple[Lists, Catalogue]:
    """The lists of some requests, each with entries (rank, label, events, vector), N of them in all. The catalogue has
    one item for each entry."""
    request_N = np.repeat(np.arange(requests.num_rows), pc.list_value_length(requests["entries"]).to_numpy())
    entries = pc.list_flatten(requests["entries"]).combine_chunks()
    rank_N, label_N, events_N = (
        pc.struct_field(entries, name).to_numpy(zero_copy_only=False) for name in ("rank", "label", "events")
    )
    vectors_ND = _vectors(pc.struct_field(entries, "vector")) if len(entries) else np.zeros((0, 1))
    lists = Lists(request_N, rank_N, np.arange(len(rank_N)), label_N == 1, requests.num_rows)
    return lists, Catalogue(events_N, vectors_ND, total, count)


def _vectors(column: pa.Array) -> Floats:
    """Vectors [N, D] from a list column; zeros for null."""
    width = max(pc.max(pc.list_value_length(column)).as_py() or 1, 1)
    flat = pc.list_flatten(pc.fill_null(column, pa.scalar([0.0] * width, column.type)))
    return flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(column), width)


def coverage_sums(ranked_rows: DataFrame, name: str, catalogue: int) -> DataFrame:
    """``NAME_0``: share of the ``catalogue`` items that is in this user's lists alone; ``NAME_1``: share of items that
    are counted here, by the lowest of their users; ``NAME_n``: 1, by (model, slice, user) for all users with a list."""
    shown = (
        ranked_rows.where((F.col("rank") <= _last(parse(name)[1])) & (F.col("weight") > 0))
        .select(*KEYS, "item")
        .distinct()
    )
    items = shown.groupBy(*GROUP, "item").agg(F.count("*").alias("holders"), F.min("user").alias("user"))
    alone, one, zero = (F.col("holders") == 1).cast("double"), F.lit(1.0), F.lit(0.0)
    counted = items.select(*KEYS, alone.alias("alone"), one.alias("counted"), zero.alias("present"))
    present = shown.select(*KEYS, zero.alias("alone"), zero.alias("counted"), one.alias("present")).distinct()
    return (
        counted.unionByName(present)
        .groupBy(*KEYS)
        .agg(
            (F.sum("alone") / catalogue).alias(f"{name}_0"),
            (F.sum("counted") / catalogue).alias(f"{name}_1"),
            F.sum("present").alias(f"{name}_n"),
        )
    )
