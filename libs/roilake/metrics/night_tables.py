"""Checks of a night's tables that pipelines share: no row in two splits, none from after its time, no model trained on
what evaluates it. A pipeline says which tables and columns. What file footers tell is read from them, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.lake import TABLES, Lake, extremes

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class NightTables:
    """The tables of one night of a pipeline, at the versions that belong together."""

    lake: Lake
    pipeline: str
    ds: date
    versions: Mapping[str, int]

    @property
    def end(self) -> datetime:
        """The first instant after the night."""
        return midnight(self.ds + timedelta(days=1))

    def where(self, table: str) -> dict[str, object]:
        """Columns and values of the night's own rows."""
        return TABLES[table].own(self.pipeline, self.ds)

    def read(self, table: str) -> DataFrame:
        """The night's own rows."""
        rows = self.lake.read(table, version=self.versions[table])
        for name, value in self.where(table).items():
            rows = rows.where(F.col(name) == F.lit(value))
        return rows

    def rows(self, table: str, *columns: str) -> list[dict]:
        """Columns of the night's own rows of a small table."""
        where = self.where(table)
        return self.lake.to_arrow(table, self.versions[table], filters=where, columns=columns).to_pylist()

    def count(self, table: str, *keys: str) -> dict[tuple[str, ...], int]:
        """The night's rows by partition values."""
        found: dict[tuple[str, ...], int] = {}
        for file in self.lake.active_files(table, self.versions[table], **self.where(table)):
            values = tuple(file.partition[key] for key in keys)
            found[values] = found.get(values, 0) + file.rows
        return found

    def spans(self, table: str, column: str, key: str, *, all_nights: bool = False) -> dict[str, Span]:
        """First and last time in ``column`` by partition ``key``, of the night's rows or of every night's."""
        where = {} if all_nights else self.where(table)
        found = extremes(self.lake, table, self.versions[table], column, (key,), filters=where)
        return {value: span for (value,), span in sorted(found.items())}


def midnight(day: date) -> datetime:
    """UTC."""
    return datetime.combine(day, time(), UTC)


def counted_faults(table: str, rows: DataFrame, faults: Mapping[str, Column]) -> Iterator[str]:
    """Faults, by name a condition on rows, that any row has; unknown counts as no fault."""
    sums = [F.sum(F.coalesce(fault, F.lit(False)).cast("long")).alias(name) for name, fault in faults.items()]
    found = rows.agg(*sums).first()
    for name, count in (found.asDict() if found else {}).items():
        if count:
            yield f"{table}: {count} {name}, must be 0"


def shared_rows(table: str, rows: DataFrame, keys: Sequence[str], noun: str, *, once: bool = False) -> Iterator[str]:
    """Rows that are alike in ``keys`` and in more than one split; with ``once``, in one split several times, too."""
    counts = F.count("*").alias("rows"), F.min("split").alias("first"), F.max("split").alias("last")
    groups = rows.groupBy(*keys).agg(*counts).where("rows > 1" if once else "first != last")
    for row in sorted(groups.groupBy("first", "last").count().collect()):
        twice = row["first"] == row["last"]
        where = f"twice in {row['first']}" if twice else f"both in {row['first']} and in {row['last']}"
        yield f"{table}: {row['count']} {noun} {where}, must be 0"


def late_rows(
    table: str, spans: Mapping[str, Span], key: str, column: str, end: Callable[[str], datetime]
) -> Iterator[str]:
    """Partitions of ``spans`` (``NightTables.spans``) whose last time is not before their ``end``."""
    for value, (_, last) in spans.items():
        if last >= end(value):
            late = f"{last:%Y-%m-%d %H:%M:%S}, must be before {end(value):%Y-%m-%d}"
            yield f"{table}: {key} {value} holds {column} {late}"


def overlapping_splits(table: str, spans: Mapping[str, Span]) -> Iterator[str]:
    """Neighbouring splits of ``spans`` whose times overlap."""
    for early, late in pairwise(split for split in ("train", "validation", "test") if split in spans):
        last, first = spans[early][1], spans[late][0]
        if last >= first:
            yield f"{table}: {early} reaches {last:%Y-%m-%d %H:%M:%S}, must end before {late} starts ({first})"


def late_models(night: NightTables, first: date) -> Iterator[str]:
    """Models that learnt from what chooses or evaluates them: ``first`` is the first day of that."""
    for row in night.rows("models", "name", "train_end"):
        if row["train_end"] > first:
            yield f"models: {row['name']} was trained until {row['train_end']}, must be at most {first}"
