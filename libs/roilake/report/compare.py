"""Two published nights of a pipeline side by side: metrics with the intervals of their differences, config, code, rows
and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.metrics.registry import label
from roilake.report.changes import Change, changes
from roilake.report.data import the_one
from roilake.report.figures import Count, table_counts
from roilake.report.formatting import duration, number, plain, signed
from roilake.report.night import NightData, read_night
from roilake.report.nights import nearest, plain_table, publications


@dataclass(frozen=True)
class Comparison:
    """``after`` against ``before``."""

    before: NightData
    after: NightData

    @cached_property
    def changes(self) -> list[Change]:
        """Of every metric on each evaluation set."""
        pairs = [(self.before.at(on).measures, self.after.at(on).measures, on.name) for on in self.after.evaluated]
        return [change for pair in pairs for change in changes(*pair)]

    @cached_property
    def config(self) -> dict[str, tuple[Any, Any]]:
        """Dotted keys whose values differ, with the two values (None: not there)."""
        first, second = _flat(self.before.config), _flat(self.after.config)
        keys = sorted(first.keys() | second.keys())
        return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}

    @cached_property
    def rows(self) -> list[Count]:
        """Of each table."""
        return table_counts(self.after, self.before)


def find_run(lake: Lake, name: str, pipeline: str | None = None) -> Publication:
    """The published night that a date or a run id (or the start of one) names; ``pipeline`` narrows them. A run that a
    later run of its night has replaced is found by its id, too. Raises LakeError, which lists those that there are."""
    nights = publications(lake, pipeline)
    if dated := [night for night in nights if name == str(night.ds)]:
        return the_one(lake, dated, name)
    found = [night for night in nights if len(name) >= 4 and night.run_id.startswith(name)]
    replaced = lake.replaced_publication(name) if not found and len(name) >= 4 else None
    if len(found) == 1 or replaced:
        return replaced or found[0]
    try:
        known = nearest(date.fromisoformat(name), [night.ds for night in nights])
    except ValueError:
        listed = ", ".join(f"{night.ds} ({night.run_id})" for night in (found or nights)[-5:])
        known = f"there are {listed}" if listed else "there is none yet"
    problem = "names several published runs" if found else "is no published run"
    raise LakeError(f"{lake.path}: {name!r} {problem}; {known} (see `roilake runs`)")


def compare(lake: Lake, before: str, after: str, pipeline: str | None = None) -> Comparison:
    """Read and compare two runs, each named by its night or its run id. Raises LakeError, also for runs of two
    pipelines."""
    found = [find_run(lake, name, pipeline) for name in (before, after)]
    if found[0].pipeline != found[1].pipeline:
        owners = " and ".join(
            f"{name!r} of {night.pipeline}" for name, night in zip((before, after), found, strict=True)
        )
        raise LakeError(f"{lake.path}: {owners}: only runs of one pipeline can be compared")
    return Comparison(read_night(lake, found[0]), read_night(lake, found[1]))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def to_object(found: Comparison) -> dict[str, Any]:
    """The same for machines."""
    return {
        "pipeline": found.after.pipeline.name,
        "runs": [
            {
                "ds": str(night.ds), "run_id": night.run_id, "code_revision": night.code_revision,
                "serves": night.default_model,
            }
            for night in (found.before, found.after)
        ],
        "metrics": [
            {
                "model": change.model, "metric": change.metric, "evaluated": change.slice,
                "before": change.before["value"], "after": change.after["value"], "difference": change.value,
                "low": change.low, "high": change.high, "verdict": change.verdict,
            }
            for change in found.changes
        ],
        "config": {key: list(values) for key, values in found.config.items()},
        "rows": {count.name: [count.before, count.now] for count in found.rows},
        "seconds": {run["step"]: [_seconds(found.before, run["step"]), run["seconds"]] for run in found.after.runs},
    }  # fmt: skip


def _seconds(night: NightData, step: str) -> float | None:
    run = night.run(step)
    return run["seconds"] if run else None


def print_comparison(found: Comparison, console: Console) -> None:
    """What a person reads: what differs in code and config first, since it is the cause, then what came of it."""
    first, second = found.before, found.after
    console.print(
        f"\n{second.pipeline.name}: [bold]{second.ds}[/bold] ({second.run_id}) against [bold]{first.ds}[/bold] "
        f"({first.run_id})"
    )
    same = first.code_revision == second.code_revision
    console.print(f"code: {f'the same, {second.code}' if same else f'{first.code} → {second.code}'}")
    if second.champion.metric:
        served = dict.fromkeys((_served(first), _served(second)))
        console.print(Text(plain(f"serves: {' → '.join(served)}")), soft_wrap=True)
    if not found.config:
        console.print("config: the same")
    for key, (old, new) in found.config.items():
        console.print(Text(plain(f"config: {key}: {old} → {new}")), soft_wrap=True)
    console.print(_metrics(found))
    console.print("Nights are compared as independent: where they share test days the interval is wide.")
    console.print(_figures(found))


def _served(night: NightData) -> str:
    since = f", since {night.champion.since}" if night.champion.metric else ""
    return f"{night.default_model}{since}"


def _metrics(found: Comparison) -> Table:
    """The metrics that moved, with both values and the interval of the change."""
    night = found.after
    title = "All models" if night.several else night.on.title
    names = ("model", "metric", "#before", "#after", "#change", "#95 % interval", "reading")
    table = plain_table(title, *names, fold=("model", "metric"))
    for change in found.changes:
        name = f"{label(change.metric)}, {change.slice}" if night.several else label(change.metric)
        interval = f"{signed(change.low)} to {signed(change.high)}" if change.low is not None else "–"
        table.add_row(
            change.model, name, number(change.before["value"]), number(change.after["value"]),
            signed(change.value), interval, {"noise": "within noise"}.get(change.verdict, change.verdict),
            style="bold" if change.beyond and change.model == night.default_model else None,
        )  # fmt: skip
    return table


def _figures(found: Comparison) -> Table:
    names = ("table or step", "#before", "#after", "#change")
    table = plain_table("Rows of the night, and time of its steps", *names, fold=("table or step",))
    for count in found.rows:
        table.add_row(count.name, number(count.before), number(count.now), count.change)
    for run in found.after.runs:
        earlier = _seconds(found.before, run["step"])
        old = "–" if earlier is None else duration(earlier)
        table.add_row(run["step"], old, duration(run["seconds"]), "")
    return table
