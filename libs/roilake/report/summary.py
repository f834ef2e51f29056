"""What a night prints when it ends: a readable table, and the same as one JSON object for machines."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from roilake.config.base import NightConfig
from roilake.lake import TABLES, Lake
from roilake.report.formatting import in_order, label, number
from roilake.report.night import Measure, Measures, judged_places, merged, read_metrics
from roilake.runtime.kinds import Place, kind_of


def night_summary(
    lake: Lake, config: NightConfig, ds: date, *, run_id: str, seconds: float, published: bool
) -> dict[str, Any]:
    """The final JSON object of a night: ``ds, published, run_id, seconds, report, tables, metrics``.

    ``tables`` maps names to the published versions (the latest ones if the night is not published);
    ``metrics`` maps model to metric to value (null where undefined), on the test windows, all requests; of a night of
    conversions, model to split to metric to value. ``config`` is the night's."""
    publication = lake.publication(ds=ds) if published else None
    tables = publication.versions if publication else table_versions(lake)
    return {
        "ds": str(ds),
        "published": published,
        "run_id": run_id,
        "seconds": round(seconds, 1),
        "report": str(report_path(lake, ds)),
        "tables": dict(sorted(tables.items())),
        "metrics": _values(_judged(lake, config, tables, ds), several=len(kind_of(config).places) > 1),
    }


def _values(judged: dict[Place, Measures], *, several: bool) -> dict[str, Any]:
    """By model, (of ``several`` places: by split) and metric."""
    found: dict[str, Any] = {}
    for place, measures in judged.items():
        for model, known in measures.items():
            values = {name: measure["value"] for name, measure in known.items()}
            found.setdefault(model, {}).update({place.split: values} if several else values)
    return found


def table_versions(lake: Lake) -> dict[str, int]:
    """The latest version of every table that the lake holds, but for ``publications``."""
    return {name: lake.version(name) for name in TABLES if name != "publications" and lake.exists(name)}


def report_path(lake: Lake, ds: date, since: date | None = None) -> Path:
    """Where the report of a night lies; one that looks back to a chosen night lies beside it."""
    return lake.folder / "reports" / (f"{ds}.html" if since is None else f"{ds}-since-{since}.html")


def _judged(lake: Lake, config: NightConfig, tables: dict[str, int], ds: date) -> dict[Place, Measures]:
    metrics = read_metrics(lake, tables.get("metrics"), ds)
    return {place: merged(metrics, place) for place in judged_places(kind_of(config), metrics)}


def print_summary(lake: Lake, summary: dict[str, Any], config: NightConfig, console: Console) -> None:
    """Print the tables that a person reads: each model's metrics with half-widths of their intervals."""
    judged = _judged(lake, config, summary["tables"], date.fromisoformat(summary["ds"]))
    state = "published" if summary["published"] else "NOT published"
    console.print(f"\nNight of {summary['ds']}: [bold]{state}[/bold] in {summary['seconds']:.0f} s")
    for place, found in judged.items():
        console.print(metrics_table(found, config.default_model, place))
    console.print(f"Report: {summary['report']}", soft_wrap=True)


def metrics_table(found: Measures, default_model: str, place: Place) -> Table:
    """Models by metrics, the default model first."""
    table = Table(title=f"{place.title}: value ± half the 95 % interval", box=box.SIMPLE_HEAD)
    table.add_column("model")
    names = in_order(name for measures in found.values() for name in measures)
    for name in names:
        table.add_column(label(name), justify="right")
    order = sorted(found, key=lambda m: (m != default_model, -(found[m].get("auc", {}).get("value") or 0), m))
    for model in order:
        cells = [_cell(found[model].get(name)) for name in names]
        table.add_row(model, *cells, style="bold" if model == default_model else None)
    return table


def _cell(measure: Measure | None) -> str:
    if measure is None or measure["value"] is None:
        return "–"
    half = "" if measure["low"] is None else f" ±{(measure['high'] - measure['low']) / 2:.3f}"
    return f"{number(measure['value'])}{half}"


def to_json(summary: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(summary, sort_keys=False, allow_nan=False)
