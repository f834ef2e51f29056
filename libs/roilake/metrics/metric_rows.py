"""Rows of table ``metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pyarrow as pa

from roilake.lake import TABLES
from roilake.metrics.intervals import Estimate


def metric_row(model: str, split: str, name: str, metric: str, found: Estimate) -> dict[str, Any]:
    """One row, without night and run; ``name`` is the slice's."""
    return {"model": model, "split": split, "slice": name, "metric": metric, **found.columns}


def metric_table(rows: Iterable[dict[str, Any]], ds: date, run: str) -> pa.Table:
    """The rows of a night and run, as ``Recorder.write`` takes them: that adds the pipeline."""
    schema = TABLES["metrics"].arrow_schema
    written = pa.schema([field for field in schema if field.name != "pipeline"])
    return pa.Table.from_pylist([{"ds": ds, "run": run, **row} for row in rows], schema=written)
