"""Published tables as pandas or Arrow, without Spark or a JVM: what notebooks and consumers use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa

from roilake.errors import LakeError
from roilake.lake import Column, Lake, Publication, Table, check_folder
from roilake.runtime.registry import owner, pipelines, tables

Day = date | str
Days = Day | Sequence[Day] | None


def read_arrow(
    table: str,
    *,
    lake: str | Path = "./lake",
    pipeline: str | None = None,
    ds: Days = None,
    columns: Sequence[str] | None = None,
    where: Mapping[str, object] | None = None,
) -> pa.Table:
    """The rows of ``table`` as night ``ds`` published them, in no particular order.

    Args:
        table: a table of the data dictionary (``libs/roilake/DICTIONARY.md``).
        lake: folder of the lake.
        pipeline: of this one only. A table of one pipeline needs none; of a table that all share, each pipeline's rows
            are those of its own nights.
        ds: a published night, several, ``"all"`` of them, or (None) the last one of each pipeline. Each night's rows
            are those of its own publication; of several nights, those that published no such table are left out. A
            cumulative table (``events``, ``node_ids``) holds all nights up to the last one asked for.
        columns: these only, in this order (default: all).
        where: only rows whose column equals the value, or one of several; partition columns skip whole files.

    Any Arrow library takes the result: ``polars.from_arrow(roilake.read_arrow("metrics", ds="all"))``.

    Raises LakeError for a folder that is no lake, a table, pipeline, column or value that does not fit, and a night
    that was not published."""
    definition = _definition(table)
    for name in (*(columns or ()), *(where or {})):
        _column(definition, name)
    filters = {name: _typed(definition, name, value) for name, value in (where or {}).items()}
    opened = Lake(None, check_folder(lake, create=False))
    nights = _nights(opened, _owner(opened, table, pipeline), ds)
    found = _with_table(opened, table, nights)
    if not found:
        named = ", ".join(dict.fromkeys(str(night.ds) for night in nights))
        raise LakeError(f"{lake}: night {named} was published without a table {table!r}")
    if definition.cumulative:
        if pipeline is not None and definition.shared:
            filters["pipeline"] = [pipeline]
        return _up_to(opened, definition, found, filters, columns)
    if "ds" in filters:
        raise LakeError(f"{table}: name nights by ds=, not in where=")
    parts = []
    for night, version in found:
        own = definition.own(night.pipeline, night.ds)
        parts.append(opened.to_arrow(table, version, filters={**own, **filters}, columns=columns))
    return pa.concat_tables(parts)


def read(
    table: str,
    *,
    lake: str | Path = "./lake",
    pipeline: str | None = None,
    ds: Days = None,
    columns: Sequence[str] | None = None,
    where: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """``read_arrow`` as a pandas table; maps become dicts."""
    rows = read_arrow(table, lake=lake, pipeline=pipeline, ds=ds, columns=columns, where=where)
    return rows.to_pandas(maps_as_pydicts="strict")


def _owner(lake: Lake, table: str, pipeline: str | None) -> str | None:
    """The pipeline whose nights hold the table's rows; None for all. Raises LakeError."""
    own = owner(table)
    known = dict.fromkeys((*pipelines(), *(night.pipeline for night in lake.publications())))
    if pipeline is not None and pipeline not in known:
        raise LakeError(f"no pipeline {pipeline!r}; there are {', '.join(known)}")
    if own is not None and pipeline not in (None, own.name):
        raise LakeError(f"{table}: is a table of pipeline {own.name!r}, not of {pipeline!r}")
    return own.name if own else pipeline


def _with_table(lake: Lake, table: str, nights: Sequence[Publication]) -> list[tuple[Publication, int]]:
    """The nights that have the table, with its version."""
    if table == "publications":  # names the versions of all tables but its own
        return [(night, lake.version(table)) for night in nights]
    return [(night, night.versions[table]) for night in nights if table in night.versions]


def _up_to(
    lake: Lake,
    table: Table,
    found: Sequence[tuple[Publication, int]],
    filters: Mapping[str, list[object]],
    columns: Sequence[str] | None,
) -> pa.Table:
    """All rows of a cumulative table up to the last night, as of its version; of a shared one those of
    all pipelines' nights up to then, for it only grows."""
    end = max(night.ds for night, _ in found)
    last = [version for night, version in found if night.ds == end]
    if table.shared:
        until = [night for night in lake.publications() if night.ds <= end]
        last = [version for _, version in _with_table(lake, table.name, until)]
    version = max(last)
    days = {date.fromisoformat(file.partition["ds"]) for file in lake.active_files(table.name, version)}
    wanted = [day for day in days if day <= end and day in filters.get("ds", days)]
    return lake.to_arrow(table.name, version, filters={**filters, "ds": wanted}, columns=columns)


def _definition(table: str) -> Table:
    known = tables()
    if table not in known:
        raise LakeError(f"{table!r}: no such table; there are {', '.join(known)}")
    return known[table]


def _column(table: Table, name: str) -> Column:
    if name not in table.names:
        raise LakeError(f"{table.name}: no column {name!r}; there are {', '.join(table.names)}")
    return table.column(name)


def _typed(table: Table, name: str, value: object) -> list[object]:
    """The value, or the several, in the column's own type: a date may be given as text."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    values = list(value) if several else [value]  # type: ignore[call-overload]
    kind = _column(table, name).arrow_type
    try:
        typed: list[object] = pa.array(values).cast(kind).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise LakeError(f"{table.name}: where {name}: {value!r} does not fit the type {kind}") from error
    return typed


def _nights(lake: Lake, pipeline: str | None, ds: Days) -> list[Publication]:
    """The publications asked for, of one pipeline or all, by ``ds``. Raises LakeError, naming those that there are."""
    published = lake.publications(pipeline)
    known = sorted({night.ds for night in published})
    if not known:
        of = f" of {pipeline!r}" if pipeline else " at all"
        raise LakeError(f"{lake.path}: no night{of} is published there; run `roilake night` first")
    if ds is None:
        return list({night.pipeline: night for night in published}.values())
    if isinstance(ds, str) and ds == "all":
        return published
    days = {_day(day) for day in ([ds] if isinstance(ds, date | str) else ds)}
    missing = sorted(days.difference(known))
    if missing or not days:
        of = f" of {pipeline!r}" if pipeline else ""
        what = f"no night {missing[0]}{of} is published there" if missing else "no night asked for"
        raise LakeError(f"{lake.path}: {what}; the last ones are {', '.join(map(str, known[-5:]))}")
    return [night for night in published if night.ds in days]


def _day(day: Day) -> date:
    try:
        return date.fromisoformat(str(day)[:10])
    except ValueError as error:
        raise LakeError(f'ds {day!r}: is no date; write YYYY-MM-DD, or "all"') from error
