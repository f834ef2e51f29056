"""The audit of a night: what must hold before its tables are published, as one list of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from roilake.config import NightConfig
from roilake.lake import TABLES, Lake
from roilake.metrics.champion import find_champion
from roilake.metrics.gates import GateResult, Measured, check_bounds, explained, result_of
from roilake.runtime.pipeline import PUBLISH, Pipeline, load
from roilake.runtime.registry import find
from roilake.runtime.schedule import commands_again

Same = Callable[[str, int, int], bool]
"""Whether two versions of a table hold the same rows of the night."""


def audit(lake: Lake, config: NightConfig, ds: date, versions: Mapping[str, int]) -> list[GateResult]:
    """All gates of the night at these table versions: those that its config sets, those of its pipeline, and those
    of every night, in that order. It may be published when all have passed."""
    pipeline = find(config.pipeline)
    filled = load(pipeline.filled)(config) if pipeline.filled else [table.name for table in pipeline.tables]
    needed = dict.fromkeys((*filled, pipeline.source, pipeline.served, "metrics", "runs"))
    missing = [name for name in needed if name not in versions]
    if missing:
        problem = f"{', '.join(missing)} missing from the lake; run the steps that write them"
        return [GateResult("tables_filled", False, problem)]
    before = lake.publication(config.pipeline, before=ds)
    now = _measured(lake, config.pipeline, ds, versions, config.default_model)
    last = Measured()
    if before:
        named = json.loads(before.config)["default_model"]
        last = _measured(lake, config.pipeline, before.ds, before.versions, named)
    own: Iterable[GateResult] = load(pipeline.checks)(lake, config, ds, versions, now) if pipeline.checks else ()
    runs = _runs(lake, pipeline.name, ds, versions)
    last_runs = _runs(lake, pipeline.name, before.ds, before.versions) if before else []
    return [
        *check_bounds(config, now, last),
        *(result if result.passed or not result.metric else explained(result, now, last) for result in own),
        result_of("tables_filled", check_filled(lake, pipeline.name, ds, filled, versions)),
        result_of("steps_in_order", _in_order(lake, config, ds, versions, runs)),
        result_of("rows_reconcile", check_sources(runs)),
        result_of("keys_kept", check_keys(runs, last_runs)),
        result_of("models_evaluated", check_evaluated(now, config.evaluated, pipeline)),
    ]


def _measured(lake: Lake, pipeline: str, ds: date, versions: Mapping[str, int], named: str) -> Measured:
    rows = lake.to_arrow("metrics", versions["metrics"], filters={"pipeline": pipeline, "ds": ds})
    return Measured.of(ds, rows.to_pylist(), find_champion(lake, pipeline, ds, versions, named).model)


def _runs(lake: Lake, pipeline: str, ds: date, versions: Mapping[str, int]) -> list[dict[str, Any]]:
    """The accounts of a night's steps."""
    rows: list[dict[str, Any]] = lake.to_arrow(
        "runs", versions["runs"], filters={"pipeline": pipeline, "ds": ds}
    ).to_pylist()
    return rows


def check_filled(
    lake: Lake, pipeline: str, ds: date, tables: Sequence[str], versions: Mapping[str, int]
) -> Iterator[str]:
    """Every table that a night fills has rows of it; a cumulative one, rows up to it."""
    for table in tables:
        where = {} if TABLES[table].cumulative else TABLES[table].own(pipeline, ds)
        files = lake.active_files(table, versions[table], **where)
        if not any(file.rows for file in files if file.partition["ds"] <= str(ds)):
            yield f"{table}: 0 rows for {ds}, at least 1 is needed"


def _in_order(
    lake: Lake, config: NightConfig, ds: date, versions: Mapping[str, int], runs: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What is wrong with the night's steps, and the commands that mend it."""
    pipeline = find(config.pipeline)

    def same(table: str, first: int, second: int) -> bool:
        return lake.same(table, first, second, **TABLES[table].own(pipeline.name, ds))

    stale = list(stale_steps(runs, pipeline, versions, same))
    yield from (f"{step}: {problem}" for step, problem in stale)
    yield from check_balance(runs, pipeline)
    if stale:
        again = steps_again([step for step, _ in stale], pipeline)
        yield f"run again, in this order: {commands_again(config, ds, lake.folder, again)}"


def stale_steps(
    runs: Sequence[Mapping[str, Any]], pipeline: Pipeline, versions: Mapping[str, int], same: Same
) -> Iterator[tuple[str, str]]:
    """Steps, each with why what it left does not stand: it did not succeed; it has read other rows than earlier steps
    wrote last; or its rows are not those at ``versions``, which are to be published."""
    found = {row["step"]: row for row in runs}
    written: dict[str, tuple[str, int]] = {}
    for step in pipeline.steps:
        row = found.get(step.name)
        if row is None or row["status"] != "succeeded":
            yield step.name, f"status is {row['status'] if row else 'missing'}, must be succeeded"
            continue
        for table, read in json.loads(row["inputs"]).items():
            writer, last = written.get(table, ("", read))
            if read != last and not same(table, read, last):
                yield step.name, f"read {table} version {read}, not {writer}'s {last}"
        written |= {table: (step.name, version) for table, version in json.loads(row["outputs"]).items()}
    for table, (writer, last) in written.items():
        now = versions.get(table, last)
        if now != last and not same(table, last, now):
            yield writer, f"wrote {table} version {last}, and version {now} has other rows of the night"


def steps_again(stale: Collection[str], pipeline: Pipeline) -> list[str]:
    """The steps to run again before the night can be published, in order: the stale ones, all that read what these
    write, and the publishing one."""
    written: set[str] = set()
    again = []
    for step in pipeline.steps:
        if step.name in stale or written.intersection(step.reads):
            again.append(step.name)
            written.update(step.writes)
    return [*again, PUBLISH]


def check_balance(runs: Sequence[Mapping[str, Any]], pipeline: Pipeline) -> Iterator[str]:
    """Every step that reconciles accounts for all rows that it read."""
    reconciling = {step.name for step in pipeline.steps if step.reconciles}
    for row in sorted(runs, key=lambda row: row["step"]):
        if row["step"] in reconciling:
            yield from _unbalanced(row)


def _unbalanced(row: Mapping[str, Any]) -> Iterator[str]:
    names = {"rows_out": "out", "rows_quarantined": "quarantined", "rows_later": "later than the night"}
    if row["rows_in"] != sum(row[name] for name in names):
        counts = ", ".join(f"{row[name]} {text}" for name, text in names.items())
        yield f"{row['step']}: {row['rows_in']} rows in, but {counts}; they must add up"


def check_sources(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of each source that a step read, every row is accounted for once."""
    for run in runs:
        for name, found in json.loads(run["details"]).get("sources", {}).items():
            counted = found["taken"] + found["later"] + sum((*found["rejected"].values(), *found["left_out"].values()))
            if counted != found["rows"]:
                yield f"{run['step']}: {found['rows']} rows of source {name}, but {counted} accounted for"


def check_keys(runs: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The night has not come down to a few users, items or queries, as it does when a column means something else."""
    before = {run["step"]: json.loads(run["details"]).get("keys", {}) for run in last}
    for run in runs:
        keys = json.loads(run["details"]).get("keys")
        for kind in keys or ():
            few = kind not in ("rows", "minimum") and keys["rows"] >= 50 and keys[kind] < keys["minimum"]
            if few and before.get(run["step"], {}).get(kind, 0) >= 20:
                yield (
                    f"{run['step']}: {keys[kind]} different {kind} keys in {keys['rows']} rows, below minimum_keys "
                    f"{keys['minimum']}, and {before[run['step']][kind]} the night before; is its column the right one?"
                )


def check_evaluated(now: Measured, models: Sequence[str], pipeline: Pipeline) -> Iterator[str]:
    """Every model has metrics of the last of the pipeline's evaluation sets, which every night has."""
    split, name = pipeline.evaluated[-1].split, pipeline.evaluated[-1].slices[0]
    for model in models:
        keys = [key for key in now.rows if key[:3] == (model, split, name)]
        if not any(now.find(*key) for key in keys):
            yield f"metrics of {model}: 0 {split} metrics, at least 1 is needed (are there {split} rows?)"
