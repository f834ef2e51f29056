"""Published tables as pandas or Arrow, without Spark or a JVM: what notebooks and consumers use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa

from roilake.errors import LakeError
from roilake.lake import TABLES, Column, Lake, Publication, Table, check_folder

Day = date | str


def read_arrow(
    table: str,
    *,
    lake: str | Path = "./lake",
    ds: Day | Sequence[Day] | None = None,
    columns: Sequence[str] | None = None,
    where: Mapping[str, object] | None = None,
) -> pa.Table:
    """The rows of ``table`` as night ``ds`` published them, in no particular order.

    Args:
        table: a table of the data dictionary (``libs/roilake/lake/DICTIONARY.md``).
        lake: folder of the lake.
        ds: a published night, several, ``"all"`` of them, or (None) the last one. Each night's rows are those of its
            own publication; of several nights, those that published no such table are left out. A cumulative table
            (``events``, ``node_ids``) holds all nights up to the last one asked for.
        columns: these only, in this order (default: all).
        where: only rows whose column equals the value, or one of several; partition columns skip whole files.

    Any Arrow library takes the result: ``polars.from_arrow(roilake.read_arrow("metrics", ds="all"))``.

    Raises LakeError for a folder that is no lake, a table, column or value that does not fit, and a night that was not
    published.
    """
    definition = _definition(table)
    for name in (*(columns or ()), *(where or {})):
        _column(definition, name)
    filters = {name: _typed(definition, name, value) for name, value in (where or {}).items()}
    opened = Lake(None, check_folder(lake, create=False))
    nights = _nights(opened, ds)
    versions = _versions(opened, table, nights)
    if not versions:
        named = ", ".join(str(night.ds) for night in nights)
        raise LakeError(f"{lake}: night {named} was published without a table {table!r}")
    if definition.cumulative:
        return opened.to_arrow(table, versions[max(versions)], filters=filters, columns=columns)
    if "ds" in filters:
        raise LakeError(f"{table}: name nights by ds=, not in where=")
    return pa.concat_tables(
        opened.to_arrow(table, version, filters={"ds": night, **filters}, columns=columns)
        for night, version in versions.items()
    )


def read(
    table: str,
    *,
    lake: str | Path = "./lake",
    ds: Day | Sequence[Day] | None = None,
    columns: Sequence[str] | None = None,
    where: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """``read_arrow`` as a pandas table; maps become dicts."""
    rows = read_arrow(table, lake=lake, ds=ds, columns=columns, where=where)
    return rows.to_pandas(maps_as_pydicts="strict")


def _versions(lake: Lake, table: str, nights: Sequence[Publication]) -> dict[date, int]:
    """The table's version by night, of the nights that have one."""
    if table == "publications":  # names the versions of all tables but its own
        return dict.fromkeys((night.ds for night in nights), lake.version(table))
    return {night.ds: night.versions[table] for night in nights if table in night.versions}


def _definition(table: str) -> Table:
    if table not in TABLES:
        raise LakeError(f"{table!r}: no such table; there are {', '.join(TABLES)}")
    return TABLES[table]


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


def _nights(lake: Lake, ds: Day | Sequence[Day] | None) -> list[Publication]:
    """The publications asked for, by ``ds``. Raises LakeError, naming those that there are."""
    known = {night.ds: night for night in lake.publications()}
    if not known:
        raise LakeError(f"{lake.path}: no night at all is published there; run `roilake night` first")
    if ds is None:
        return [known[max(known)]]
    if isinstance(ds, str) and ds == "all":
        return [known[day] for day in sorted(known)]
    asked = sorted({_day(day) for day in ([ds] if isinstance(ds, date | str) else ds)})
    missing = [day for day in asked if day not in known]
    if missing or not asked:
        there = ", ".join(map(str, sorted(known)[-5:]))
        what = f"no night {missing[0]} is published there" if missing else "no night asked for"
        raise LakeError(f"{lake.path}: {what}; the last ones are {there}")
    return [known[day] for day in asked]


def _day(day: Day) -> date:
    try:
        return date.fromisoformat(str(day)[:10])
    except ValueError as error:
        raise LakeError(f'ds {day!r}: is no date; write YYYY-MM-DD, or "all"') from error
