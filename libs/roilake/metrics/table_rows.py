"""The rows of a Spark table under names of our own, checked: what no metric is defined on is refused, and counted."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from roilake.errors import MetricError
from roilake.metrics.registry import parse


@dataclass(frozen=True)
class Columns:
    """Which columns of the table mean what, by their names as they are (``user.id`` is one name). ``other`` is the
    score of a second model. ``user`` None: each request is its own. ``shown`` is 0 (or false) where a relevant item was
    never shown."""

    user: str | None = "user"
    label: str = "label"
    score: str = "score"
    other: str | None = None
    weight: str | None = None
    request: str | None = None
    item: str | None = None
    shown: str | None = None


USUAL = Columns()
_FRACTIONS = (T.FloatType, T.DoubleType)


def check_request(metrics: Sequence[str], columns: Columns, catalogue: DataFrame | None, scores: Sequence[str]) -> None:
    """MetricError for a metric that is not known, or whose columns are not there. ``scores`` are those of scores."""
    for name in metrics:
        metric = parse(name)[0]
        if metric.inputs == "scores" and metric.name not in scores:
            raise MetricError(f"{name} is not computed over a table; there are {', '.join(scores)}")
        if metric.inputs in ("ranks", "lists") and not (columns.request and columns.item):
            raise MetricError(f"{name} needs columns.request and columns.item")
        if metric.inputs == "lists" and catalogue is None:
            raise MetricError(f"{name} needs a catalogue of items")
    if not (columns.user or columns.request):
        raise MetricError("name columns.user or columns.request: intervals are over users, or else over requests")


@dataclass(frozen=True)
class Plain:
    """A table whose columns are found by their names as they are, whatever these hold: it has names of our own."""

    rows: DataFrame
    names: list[str]
    types: dict[str, T.DataType]

    @classmethod
    def of(cls, rows: DataFrame, wanted: Sequence[str], what: str) -> Plain:
        """MetricError, which calls the table ``what``, where a wanted column is not there once."""
        for name in wanted:
            if rows.columns.count(name) != 1:
                fault = "more than one column" if name in rows.columns else "no column"
                raise MetricError(f"{what} has {fault} {name}; it has {', '.join(rows.columns)}")
        types = {field.name: field.dataType for field in rows.schema.fields}
        return cls(rows.toDF(*(f"c{number}" for number in range(len(rows.columns)))), rows.columns, types)

    def column(self, name: str) -> Column:
        """As it is."""
        return F.col(f"c{self.names.index(name)}")

    def number(self, what: str, name: str) -> Column:
        """As a double. MetricError for other types than numbers and booleans."""
        if not isinstance(self.types[name], T.NumericType | T.BooleanType):
            raise MetricError(f"column {name} is {self.types[name].simpleString()}: {what} must be numbers")
        return self.column(name).cast("double")

    def id(self, what: str, name: str) -> Column:
        """As it is, but null for NaN. MetricError for a type that nothing can be grouped by."""
        kind = self.types[name]
        if isinstance(kind, T.MapType | T.VariantType):
            raise MetricError(f"{what}s are {kind.simpleString()}: ids must be of a type that can be compared")
        column = self.column(name)
        return F.when(~F.isnan(column), column + F.lit(0).cast(kind)) if isinstance(kind, _FRACTIONS) else column


def named(rows: DataFrame, columns: Columns, slices: Sequence[str]) -> DataFrame:
    """The columns under their own names, users as integers, scores of what was not shown 0, and the ``slices`` that
    each row belongs to."""
    found = Plain.of(rows, [name for name in vars(columns).values() if name] + list(slices), "the table")
    shown = found.number("shown", columns.shown) if columns.shown else F.lit(1.0)
    scores = {"score": columns.score, "other": columns.other or columns.score}
    cuts = [
        F.coalesce(F.concat(F.lit(f"{name}="), found.column(name).cast("string")), F.lit(f"{name} is null"))
        for name in slices
    ]
    user = columns.user or columns.request or ""
    ids = {"request": columns.request, "item": columns.item}
    return found.rows.select(
        _key_of(found.id("user", user), found.types[user]).alias("user"),
        found.number("labels", columns.label).alias("label"),
        *(_where_shown(found.number("scores", name), shown).alias(what) for what, name in scores.items()),
        (found.number("weights", columns.weight) if columns.weight else F.lit(1.0)).alias("weight"),
        shown.alias("shown"),
        F.array(F.lit("all"), *cuts).alias("slices"),
        *(found.id(what, name).alias(what) for what, name in ids.items() if name),
    )


def _where_shown(score: Column, shown: Column) -> Column:
    """0 where the item was not shown; -0.0 is 0, too."""
    return F.when(shown == 0, 0.0).otherwise(score + F.lit(0.0))


def _key_of(column: Column, kind: T.DataType) -> Column:
    """A user's number, by which he is drawn, as ``ids.key_of`` has it; null for null. Whole numbers are their own; of a
    million hashes of 64 bits two are alike once in forty million tables."""
    if isinstance(kind, T.IntegralType | T.BooleanType):
        return column.cast("long")
    if isinstance(kind, _FRACTIONS):
        exact = column.cast("double")
        whole = (exact % F.lit(1.0) == 0) & (exact >= -(2.0**63)) & (exact < 2.0**63)
        return F.when(whole, exact.cast("long")).when(exact.isNotNull(), F.xxhash64(exact))
    text = column if isinstance(kind, T.StringType | T.BinaryType) else column.cast("string")
    return F.when(column.isNotNull(), F.xxhash64(text))


def check(rows: DataFrame, inputs: Set[str]) -> int:
    """Number of rows. MetricError for what no metric of these inputs is defined on."""
    infinite = [F.lit(float("inf")), F.lit(float("-inf"))]

    def odd(name: str) -> Column:
        return F.col(name).isNull() | F.isnan(name) | F.col(name).isin(*infinite)

    outside = ~F.col("score").between(0, 1) | ~F.col("other").between(0, 1)
    rules = {
        "shown must be 0 or 1": F.col("shown").isNull() | ~F.col("shown").isin(0.0, 1.0),
        "scores must be finite": odd("score") | odd("other"),
        "labels must be 0 or 1": F.col("label").isNull() | ~F.col("label").isin(0.0, 1.0),
        "weights must be finite and not negative": odd("weight") | (F.col("weight") < 0),
        **{
            f"{name}s must not be null": F.col(name).isNull()
            for name in ("user", "request", "item")
            if name in rows.columns
        },
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
    names = ("user", "weight")
    odd = [(F.min(name) != F.max(name)).alias(name) for name in names]
    for row in rows.groupBy("request").agg(*odd).where("user or weight").take(1):
        name = next(name for name in names if row[name])
        raise MetricError(f"rows of request {row['request']} differ in their {name}: a request has one")
