"""Rows of table ``metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from roilake.lake import TABLES
from roilake.metrics.intervals import Draws, Estimate, Observed
from roilake.metrics.slices import delta_vs_default


def metric_row(model: str, split: str, name: str, metric: str, found: Estimate) -> dict[str, Any]:
    """One row, without night and run; ``name`` is the slice's."""
    return {"model": model, "split": split, "slice": name, "metric": metric, **found.columns}


def compared_rows(
    model: str, split: str, name: str, own: Mapping[str, Observed], theirs: Mapping[str, Observed] | None, draws: Draws
) -> Iterator[dict[str, Any]]:
    """Rows of a model's metrics on slice ``name``; and of how much more they are than ``theirs``, of the model that
    serves, by the same draws. None: it is that model."""
    for metric, found in own.items():
        yield metric_row(model, split, name, metric, found.estimate(draws))
        if theirs is not None:
            more = found.minus(theirs[metric])  # type: ignore[arg-type] # a metric is observed alike of all models
            yield metric_row(model, split, delta_vs_default(name), metric, more.estimate(draws))


def metric_table(rows: Iterable[dict[str, Any]], ds: date, run: str) -> pa.Table:
    """The rows of a night and run, as ``Recorder.write`` takes them: that adds the pipeline."""
    schema = TABLES["metrics"].arrow_schema
    written = pa.schema([field for field in schema if field.name != "pipeline"])
    return pa.Table.from_pylist([{"ds": ds, "run": run, **row} for row in rows], schema=written)
