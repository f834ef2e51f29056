"""What a night prints when it ends: a readable table, and the same as one JSON object for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from roilake.config import NightConfig
from roilake.lake import Lake, report_name
from roilake.metrics.champion import find_champion
from roilake.metrics.registry import in_order, label
from roilake.report.formatting import number, plain
from roilake.report.leaderboard import leading, model_order, rank
from roilake.report.night import Measure, Measures, NightData, by_slice, merged, sets_of
from roilake.report.nights import plain_table
from roilake.report.serving import serving
from roilake.runtime.pipeline import PUBLISH, EvaluationSet
from roilake.runtime.registry import find, owner, tables

WIDEST = 10_000
"""Characters: no table of metrics is as wide."""
Evaluated = Mapping[EvaluationSet, Measures]


def night_summary(
    lake: Lake, config: NightConfig, ds: date, *, run_id: str, seconds: float, published: bool
) -> dict[str, Any]:
    """The final JSON object of a night: ``pipeline, ds, published, run_id, seconds, report, tables, metrics``.
    ``report`` is the page that this run wrote, null where it ended before it could.

    ``tables`` maps names to the published versions (the latest ones if the night is not published); ``metrics`` maps
    model to metric to value (null where undefined) on the pipeline's evaluation set, of one with several model to
    split to metric to value. ``config`` is the night's."""
    publication = lake.publication(config.pipeline, ds=ds) if published else None
    versions = publication.versions if publication else table_versions(lake, config.pipeline)
    found = _evaluated(lake, config.pipeline, versions, ds)
    return {
        "pipeline": config.pipeline,
        "ds": str(ds),
        "published": published,
        "run_id": run_id,
        "seconds": round(seconds, 1),
        "report": _page(lake, config.pipeline, ds, published=published),
        "tables": dict(sorted(versions.items())),
        "metrics": _values(found, several=len(find(config.pipeline).evaluated) > 1),
    }


def _values(found: Evaluated, *, several: bool) -> dict[str, Any]:
    """By model, (of ``several`` evaluation sets: by split) and metric."""
    values: dict[str, Any] = {}
    for on, measures in found.items():
        for model, known in measures.items():
            own = {name: measure["value"] for name, measure in known.items()}
            values.setdefault(model, {}).update({on.split: own} if several else own)
    return values


def table_versions(lake: Lake, pipeline: str) -> dict[str, int]:
    """The latest version of every table of a pipeline, and of the shared ones but ``publications``, that the lake
    holds."""
    names = [name for name in tables() if name != "publications" and owner(name) in (None, find(pipeline))]
    return {name: lake.version(name) for name in names if lake.exists(name)}


def report_path(lake: Lake, pipeline: str, ds: date, since: date | None = None, *, published: bool = True) -> Path:
    """Where the report of a night lies. One that looks back to a chosen night lies beside it, and so does that of an
    attempt that is not ``published``, until a later one is."""
    return lake.files.local(report_name(pipeline, ds, since, published=published))


def _page(lake: Lake, pipeline: str, ds: date, *, published: bool) -> str | None:
    """Path of the page that a night's run has written; None where it ended before there was one."""
    where = {"pipeline": pipeline, "ds": ds, "status": "failed"}
    rows = lake.to_arrow("runs", lake.version("runs"), filters=where) if not published and lake.exists("runs") else None
    if rows is not None and rows["step"].to_pylist() != [PUBLISH]:
        return None
    return str(report_path(lake, pipeline, ds, published=published))


def _evaluated(lake: Lake, pipeline: str, versions: Mapping[str, int], ds: date) -> Evaluated:
    where = {"pipeline": pipeline, "ds": ds}
    rows = lake.to_arrow("metrics", versions["metrics"], filters=where).to_pylist() if "metrics" in versions else []
    metrics = by_slice(rows)
    return {on: merged(metrics, on) for on in sets_of(find(pipeline).evaluated, metrics)}


def print_summary(
    lake: Lake, summary: dict[str, Any], config: NightConfig, console: Console, *, wide: bool = False
) -> None:
    """Print what a person reads: of each evaluation set the models by the four leading metrics and the default model's
    ranks, within 80 columns; ``wide`` prints all metrics, however many columns that takes."""
    ds, versions = date.fromisoformat(summary["ds"]), summary["tables"]
    champion = find_champion(lake, config.pipeline, ds, versions, config.default_model)
    found = _evaluated(lake, config.pipeline, versions, ds)
    state = "published" if summary["published"] else "NOT published"
    console.print(f"\nNight of {summary['ds']}: [bold]{state}[/bold] in {summary['seconds']:.0f} s ({config.pipeline})")
    if champion.metric:
        console.print(Text(plain(serving(champion))))
    for on, measures in found.items():
        table = metrics_table(measures, champion.model, on, wide=wide)
        shown = Text(_as_text(table)) if wide else table
        console.print("", shown, sep="\n", soft_wrap=wide)
    if summary["report"]:
        page = Path(summary["report"])
        console.print(Text(f"\nReport: {page}\nAll metrics: {page.with_suffix('.txt')}"), soft_wrap=True)


def whole_text(night: NightData) -> str:
    """All metrics of all models on each evaluation set, as text."""
    found = [metrics_table(night.at(on).measures, night.default_model, on, wide=True) for on in night.evaluated]
    title = f"{night.pipeline.name}, night of {night.ds}, run {night.run_id}"
    return "\n\n".join([title, *map(_as_text, found)]) + "\n"


def _as_text(table: Table) -> str:
    """The table as wide as it is: a console would cut what is wider than itself."""
    console = Console(file=StringIO(), width=WIDEST, color_system=None)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(map(str.rstrip, lines))


def metrics_table(measures: Measures, default_model: str, on: EvaluationSet, *, wide: bool) -> Table:
    """Models by metrics, value and half the 95 % interval, the default model first; under it its rank among the models
    in each metric."""
    every = in_order(name for found in measures.values() for name in found)
    names = every if wide else leading(every)
    table = plain_table(on.title, "model", *(f"#{label(name)}" for name in names), fold=("model",))
    for model in model_order(measures, default_model):
        own = model == default_model
        table.add_row(model, *(_cell(measures[model].get(name)) for name in names), style="bold" if own else None)
        if own:
            ranks = [rank(measures, model, name) for name in names]
            table.add_row("its rank", *("–" if r is None else f"{r[0]} of {r[1]}" for r in ranks), style="dim")
    return table


def _cell(measure: Measure | None) -> str:
    if measure is None or measure["value"] is None:
        return "–"
    half = "" if measure["low"] is None else f" ±{(measure['high'] - measure['low']) / 2:.3f}"
    return f"{number(measure['value'])}{half}"


def to_json(summary: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(summary, sort_keys=False, allow_nan=False)
