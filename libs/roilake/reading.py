"""Published tables as pandas, without Spark or a JVM: what notebooks and consumers use."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa

from roilake.errors import LakeError
from roilake.lake import TABLES, Lake, check_folder


def read_arrow(table: str, *, lake: str | Path = "./lake", ds: date | str | None = None) -> pa.Table:
    """The rows of ``table`` that belong to the published night ``ds`` (default: the last one).

    Append-only tables (``events``, ``node_ids``) hold all nights up to ``ds``. Raises LakeError for a folder that is no
    lake, a table that is not known, and a night that was not published.
    """
    if table not in TABLES:
        raise LakeError(f"{table!r}: no such table; there are {', '.join(TABLES)}")
    opened = Lake(None, check_folder(lake, create=False))
    night = opened.publication(ds=date.fromisoformat(str(ds)) if ds is not None else None)
    if night is None:
        raise LakeError(f"{lake}: {'no night at all' if ds is None else f'no night {ds}'} is published there")
    if table == "publications":
        return opened.to_arrow(table, opened.version(table))
    if table not in night.versions:
        raise LakeError(f"{lake}: night {night.ds} was published without a table {table!r}")
    filters = {} if TABLES[table].cumulative else {"ds": night.ds}
    return opened.to_arrow(table, night.versions[table], filters=filters)


def read(table: str, *, lake: str | Path = "./lake", ds: date | str | None = None) -> pd.DataFrame:
    """``read_arrow`` as a pandas table."""
    return read_arrow(table, lake=lake, ds=ds).to_pandas()
