"""Rows of a source -> columns of a table, and what becomes of each row: taken, in quarantine with a reason, or left
out.

Every row is counted exactly once: ``rows_out`` (sound), ``rows_quarantined``, ``rows_later`` (from after the night's
end), or under ``details["left_out"]`` by the reason why the night does not look at it. ``rows_in`` is the sum of the
first three."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from roilake.config.base import FileSource
from roilake.errors import AuditError
from roilake.ingest.sources import CORRUPT, mapped
from roilake.lake.session import cached
from roilake.runtime.step import Recorder

LATER = "later than the night"


def map_rows(
    raw: DataFrame,
    source: FileSource,
    key: str,
    expressions: Mapping[str, str | None],
    *,
    identity: str,
    numbers: Collection[str] = (),
    derived: Sequence[Column] = (),
) -> DataFrame:
    """The source's rows as columns by name: ``time`` as a timestamp, ``numbers`` as doubles, all others as texts, of
    which an empty one is null; then ``derived`` columns of the raw row, ``row`` (the raw row as JSON) and ``corrupt``.

    ``expressions`` (SQL over the source; None: a column of nulls) stand below ``key`` in the config. Without one of
    its own ``identity`` is a hash of the raw row. Raises SourceError for an expression that does not fit."""
    columns = mapped(raw, source, key, {name: sql for name, sql in expressions.items() if sql is not None})
    row = F.to_json(F.struct(*(F.col(f"`{name}`") for name in raw.columns if name != CORRUPT)))
    line = F.to_json(F.struct(F.col(CORRUPT).alias("line")))
    columns.setdefault(identity, F.substring(F.sha2(row, 256), 1, 32))

    def typed(name: str) -> Column:
        column = columns.get(name, F.lit(None))
        if name == "time":
            return column.cast("timestamp")
        return column.cast("double") if name in numbers else F.nullif(F.trim(column.cast("string")), F.lit(""))

    return raw.select(
        *(typed(name).alias(name) for name in expressions),
        *derived,
        F.when(F.col(CORRUPT).isNull(), row).otherwise(line).alias("row"),
        F.col(CORRUPT).isNotNull().alias("corrupt"),
    )


def with_reason(rows: DataFrame, required: Sequence[str], faults: Sequence[tuple[Column, str]]) -> DataFrame:
    """Mapped rows with ``reason``, the first that holds: the line does not parse, a ``required`` column is null, one
    of the ``faults``. Null for a sound row."""
    missing = [(F.col(name).isNull(), f"no {name.replace('_', ' ')}") for name in required]
    checks = [(F.col("corrupt"), "does not parse"), *missing, *faults]
    reason = F.coalesce(*(F.when(failed, F.lit(text)) for failed, text in checks))
    return rows.withColumn("reason", reason).drop("corrupt")


def take(rows: DataFrame, left_out: Mapping[str, Column], repeats: tuple[str, str] | None = None) -> DataFrame:
    """Rows with ``left_out``, the name of the first of these conditions that holds: why the night does not look at
    the row, of which nothing else is kept then; null for the others. ``repeats`` (column, reason): of several sound
    rows that are equal in the column, the one that sorts first by (time, row) stays; the others get the reason."""
    why = F.coalesce(F.lit(None).cast("string"), *(F.when(holds, F.lit(name)) for name, holds in left_out.items()))
    marked, taken = rows.withColumn("left_out", why), F.col("left_out").isNull()
    names = [name for name in rows.columns if repeats is None or name != repeats[0]]
    marked = marked.withColumns({name: F.when(taken, F.col(name)) for name in names})
    if repeats is None:
        return marked
    sound = taken & F.col("reason").isNull()
    same = Window.partitionBy(repeats[0], sound).orderBy("time", "row")
    again = sound & (F.row_number().over(same) > 1)
    return marked.withColumn("reason", F.when(again, repeats[1]).otherwise(F.col("reason")))


@dataclass(frozen=True)
class Budget:
    """``share``, at ``key`` of the config, of the rows that ``source`` gives a night may be rejected."""

    source: str
    key: str
    share: float


@contextmanager
def accounted(record: Recorder, rows: DataFrame, budget: Budget) -> Iterator[DataFrame]:
    """The sound ones of the rows that ``take`` gave, cached while the block lasts, when all are counted and the
    rejected ones written to ``quarantine``. Raises AuditError, after writing, when more are rejected than the budget
    allows."""
    with cached(rows) as rows:
        rejected, left_out, taken = _count(rows)
        record.rows_later, record.rows_quarantined = left_out.pop(LATER, 0), rejected.total()
        looked_at = taken + rejected.total()
        record.rows_in = looked_at + record.rows_later
        record.details |= {"rejected": dict(sorted(rejected.items())), "left_out": dict(sorted(left_out.items()))}
        others = [*rejected.items(), (LATER, record.rows_later), *left_out.items()]
        record.progress("; ".join(f"{count:,} {why}" for why, count in [("rows taken", taken), *others]))
        _quarantine(record, rows)
        _check_budget(rejected, looked_at, budget)
        yield rows.where(F.col("reason").isNull() & F.col("left_out").isNull())


def _count(rows: DataFrame) -> tuple[Counter[str], Counter[str], int]:
    """Rejected rows by reason, rows that are left out by reason, and how many others."""
    rejected: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    taken = 0
    for reason, why, count in rows.groupBy("reason", "left_out").count().collect():
        if why is not None:
            left_out[why] += count
        elif reason is not None:
            rejected[reason] += count
        else:
            taken += count
    return rejected, left_out, taken


def _quarantine(record: Recorder, rows: DataFrame) -> None:
    if record.rows_quarantined or record.lake.exists("quarantine"):
        step, ds = F.lit(record.run.step).alias("step"), F.lit(record.run.ds).alias("ds")
        bad = rows.where(F.col("reason").isNotNull() & F.col("left_out").isNull()).select(ds, step, "row", "reason")
        record.write("quarantine", bad.coalesce(1), step=record.run.step)


def _check_budget(rejected: Counter[str], rows: int, budget: Budget) -> None:
    if rejected.total() > budget.share * rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
        raise AuditError(
            f"{budget.source}: {rejected.total()} of {rows} rows were rejected ({reasons}), above {budget.key} "
            f"{budget.share:g}; look at table quarantine, mend the source or raise it"
        )
