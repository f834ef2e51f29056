"""Rows of a source -> columns of a table, and what becomes of each row: sound, rejected with a reason, or left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from roilake.config.base import RowSource
from roilake.errors import SourceError
from roilake.ingest.sources import CORRUPT, SourceRows, mapped, texts

LATER = "later than the night"
UNASKED = "its condition where does not hold"
STRANGE_TIME = "time is before 1971 or after 2100 (milliseconds for seconds, or the other way round?)"
NOT_UTF8 = "a key is not UTF-8 (set options: {encoding: ...} of the source)"
_FIRST_TIME, _LAST_TIME = "1971-01-01", "2101-01-01"


def map_rows(
    source: SourceRows,
    name: str,
    key: str,
    expressions: Mapping[str, str | None],
    *,
    identity: str,
    identified_by: Sequence[str],
    required: Collection[str],
    numbers: Collection[str] = (),
    labels: Collection[str] = (),
    derived: Mapping[str, Column] | None = None,
) -> DataFrame:
    """The source's rows as columns by name: ``time`` as a timestamp, ``numbers`` as doubles, ``labels`` as 0 or 1, all
    others as texts that join (see ``sources.texts``); then the ``derived`` columns of the raw row, the ``source``'s
    name, ``row`` (the raw row as JSON), ``row_id`` (a hash of the mapped row, or of a line that does not parse), and
    what ``with_reason`` looks at.

    ``expressions`` (SQL over the source; None: a column of nulls) stand below ``key`` in the config. Without one of its
    own, ``identity`` is a hash of the columns that a row is ``identified_by`` and a number among those that are equal
    in them: other columns of the file, and their order, make no other row of it. Raises SourceError for an expression
    that does not fit."""
    given = {column: sql for column, sql in expressions.items() if sql is not None}
    columns = mapped(source, key, given, required=required)
    as_text = texts(source.rows, columns)

    def typed(column: str) -> Column:
        if column not in columns:
            return F.lit(None).cast("double" if column in (*numbers, *labels) else "string")
        if column == "time":
            return columns[column].cast("timestamp")
        if column in labels:
            return _label(as_text[column])
        return columns[column].cast("double") if column in numbers else as_text[column]

    line = F.to_json(F.struct(F.col(CORRUPT).alias("line")))
    raw = F.to_json(F.struct(*(F.col(f"`{column}`") for column in source.columns)))
    corrupt = F.col(CORRUPT).isNotNull()
    rows = source.rows.select(
        *(typed(column).alias(column) for column in expressions),
        *(column.alias(name) for name, column in (derived or {}).items()),
        F.lit(name).alias("source"),
        F.when(corrupt, line).otherwise(raw).alias("row"),
        corrupt.alias("corrupt"),
    )
    rows = _plausible(rows) if "time" in expressions else rows.withColumn("strange_time", F.lit(False))
    whole = F.when(F.col("corrupt"), _hash("row")).otherwise(_hash(*expressions))
    rows = rows.withColumn("row_id", whole)
    return rows if identity in columns else _numbered(rows, identity, identified_by, expressions)


def unasked(files: SourceRows, key: str, source: RowSource) -> Column:
    """Whether a row parses, and ``source.where`` does not hold for it. Raises SourceError."""
    if source.where is None:
        return F.lit(False)
    holds = mapped(files, key, {"where": source.where})["where"]
    (kind,) = (kind for _, kind in files.rows.select(holds).dtypes)
    if kind != "boolean":
        raise SourceError(f"{files.path}: {key}.where: {source.where!r} is no condition, but a {kind}; compare it")
    return F.col(CORRUPT).isNull() & ~F.coalesce(holds, F.lit(False))


def _label(text: Column) -> Column:
    """1 for ``true``, ``yes`` or ``1``, 0 for ``false``, ``no`` or ``0``, in any case of letters; another number as it
    is; NaN for any other text."""
    number = F.coalesce(text.cast("boolean").cast("int").cast("double"), text.cast("double"))
    return F.when(text.isNotNull(), F.coalesce(number, F.lit(float("nan"))))


def _plausible(rows: DataFrame) -> DataFrame:
    """Rows whose time lies in the years that a log can be of; ``strange_time`` marks the others, whose time is null."""
    inside = (F.col("time") >= F.lit(_FIRST_TIME)) & (F.col("time") < F.lit(_LAST_TIME))
    marked = rows.withColumn("strange_time", F.col("time").isNotNull() & ~inside)
    return marked.withColumn("time", F.when(inside, F.col("time")))


def _hash(*columns: str) -> Column:
    exact = (F.unix_micros(name).alias(name) if name == "time" else F.col(name) for name in columns)
    return F.substring(F.sha2(F.to_json(F.struct(*exact)), 256), 1, 32)


def _numbered(rows: DataFrame, identity: str, identified_by: Sequence[str], others: Collection[str]) -> DataFrame:
    """Rows with an id of their own. Equal ones are numbered by what else is mapped of them, so that which of them comes
    first is no matter of the file's order."""
    same = F.when(F.col("corrupt"), F.col("row_id")).otherwise(_hash("source", *identified_by))
    rest = [column for column in others if column not in (*identified_by, identity)]
    number = F.row_number().over(Window.partitionBy(identity).orderBy(*rest, F.col("row_id")))
    numbered = rows.withColumn(identity, same).withColumn("number", number)
    suffix = F.when(F.col("number") > 1, F.concat(F.lit("-"), F.col("number"))).otherwise("")
    return numbered.withColumn(identity, F.concat(identity, suffix)).drop("number")


def with_reason(
    rows: DataFrame, required: Sequence[str], faults: Sequence[tuple[Column, str]], keys: Sequence[str] = ()
) -> DataFrame:
    """Mapped rows with ``reason``, the first that holds: the line does not parse, its time cannot be, a ``required``
    column is null, one of the ``keys`` is no UTF-8, one of the ``faults``. Null for a sound row."""
    missing = [(F.col(name).isNull(), f"no {name.replace('_', ' ')}") for name in required]
    foreign = [(F.col(name).contains("\ufffd"), NOT_UTF8) for name in keys]
    checks = [(F.col("corrupt"), "does not parse"), (F.col("strange_time"), STRANGE_TIME), *missing, *foreign, *faults]
    reason = F.coalesce(*(F.when(failed, F.lit(text)) for failed, text in checks))
    return rows.withColumn("reason", reason).drop("corrupt", "strange_time")


def take(rows: DataFrame, left_out: Mapping[str, Column], repeats: tuple[str, str] | None = None) -> DataFrame:
    """Rows with ``left_out``, the name of the first of these conditions that holds: why the night does not look at
    the row, of which nothing else is kept then; null for the others. ``repeats`` (column, reason): of several sound
    rows that are equal in the column, the one that sorts first by (time, row) stays; the others get the reason.

    Of a sound row, ``row`` is dropped: what quarantine takes is all that needs it."""
    why = F.coalesce(F.lit(None).cast("string"), *(F.when(holds, F.lit(name)) for name, holds in left_out.items()))
    marked, taken = rows.withColumn("left_out", why), F.col("left_out").isNull()
    kept = ("source", *(repeats or ())[:1])
    marked = marked.withColumns({name: F.when(taken, F.col(name)) for name in rows.columns if name not in kept})
    if repeats is not None:
        sound = taken & F.col("reason").isNull()
        same = Window.partitionBy(repeats[0], sound).orderBy("time", "row")
        again = sound & (F.row_number().over(same) > 1)
        marked = marked.withColumn("reason", F.when(again, repeats[1]).otherwise(F.col("reason")))
    return marked.withColumn("row", F.when(F.col("reason").isNotNull(), F.col("row")))
