"""The catalogue of items that metrics of whole lists need, as a Spark table: checked, and held against the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from roilake.errors import MetricError
from roilake.metrics.registry import parse
from roilake.metrics.table_rows import Plain


@dataclass(frozen=True)
class TableCatalogue:
    """``items`` has item, events and vector; ``total`` and ``count`` are as in ``lists.Catalogue``."""

    items: DataFrame
    total: float
    count: int

    def refuse_others(self, rows: DataFrame) -> None:
        """MetricError where the rows have an item that is not here."""
        kinds = [frame.schema["item"].dataType for frame in (rows, self.items)]
        if kinds[0] != kinds[1] and not all(isinstance(kind, T.NumericType) for kind in kinds):
            ours, theirs = (kind.simpleString() for kind in kinds)
            raise MetricError(f"items are {ours} in the table and {theirs} in the catalogue: cast one of them")
        others = rows.select("item").distinct().join(self.items, on="item", how="left_anti")
        found = others.agg(F.min("item").alias("first"), F.count("*").alias("count")).collect()[0]
        if found["count"]:
            raise MetricError(
                f"item {found['first']!r} is not in the catalogue of {self.count} items ({found['count']} such items): "
                "add it, with 0 events where it has none"
            )


def checked_catalogue(catalogue: DataFrame, metrics: Sequence[str]) -> TableCatalogue | None:
    """The catalogue with what the ``metrics`` need of it; None where they need none. MetricError for a column that is
    missing, an item that is null or there twice, events that are no counts, or vectors that are not finite or of
    unequal length."""
    needs = {metric.needs for metric, _ in map(parse, metrics) if metric.inputs == "lists"}
    if not needs:
        return None
    items = _named(catalogue, [name for need, name in _COLUMNS.items() if need in {"items", *needs}])
    found = _counted(items)
    count = found["count"] or 0
    for rule in _RULES:
        if found[rule]:
            raise MetricError(f"{rule}: {found[rule]} of the catalogue's {count} rows are otherwise")
    if found["twice"] is not None:
        raise MetricError(f"the catalogue has item {found['twice']!r} twice")
    if found["shortest"] != found["longest"]:
        lengths = f"{found['shortest']} to {found['longest']}"
        raise MetricError(f"vectors must be equally long: those of the catalogue have {lengths} numbers")
    return TableCatalogue(items, float(found["events"] or 0) + count, count)


_COLUMNS = {"items": "item", "events": "events", "vectors": "vector"}
_RULES: dict[str, Callable[[], Column]] = {
    "items must not be null": lambda: F.col("item").isNull(),
    "events must be counts": lambda: ~F.coalesce(F.col("events").between(0, 1e300), F.lit(False)),
    "vectors must be finite": lambda: F.exists("vector", lambda x: ~F.coalesce(F.abs(x) <= 1e300, F.lit(False))),
}


def _counted(items: DataFrame) -> Row:
    """How many rows there are, and break a rule; the sum of events; an item that is there twice; the lengths of
    vectors."""
    size = F.when(F.col("vector").isNotNull(), F.size("vector"))
    each = items.groupBy("item").agg(
        F.count("*").alias("count"), F.sum("events").alias("events"),
        F.min(size).alias("shortest"), F.max(size).alias("longest"),
        *(F.sum(rule().cast("long")).alias(name) for name, rule in _RULES.items()),
    )  # fmt: skip
    twice = F.when(F.col("count") > 1, F.col("item"))
    sums = [F.sum(f"`{name}`").alias(name) for name in ("count", "events", *_RULES)]
    return each.agg(
        *sums, F.min(twice).alias("twice"), F.min("shortest").alias("shortest"), F.max("longest").alias("longest")
    ).collect()[0]


def _named(catalogue: DataFrame, needed: Sequence[str]) -> DataFrame:
    """item, events (0 where they are not needed) and vector (null: none)."""
    found = Plain.of(catalogue, needed, "the catalogue")
    events, vector = F.lit(0.0), F.lit(None)
    if "events" in needed:
        events = found.number("events", "events")
    if "vector" in needed:
        kind = found.types["vector"]
        if not (isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.NumericType)):
            raise MetricError(f"column vector is {kind.simpleString()}: vectors must be arrays of numbers")
        vector = found.column("vector")
    return found.rows.select(
        found.id("item", "item").alias("item"), events.alias("events"), vector.cast("array<double>").alias("vector")
    )
