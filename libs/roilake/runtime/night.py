"""Run a whole night, or the rest of one: every step in order, in one Spark session."""

from __future__ import annotations

from datetime import date

from roilake.config import NightConfig
from roilake.errors import ConfigError, LakeError
from roilake.lake import Lake
from roilake.runtime.pipeline import load
from roilake.runtime.registry import find
from roilake.runtime.step import StepResult
from roilake.runtime.upstreams import check_upstreams


def run_night(lake: Lake, config: NightConfig, ds: date, *, from_step: str | None = None) -> list[StepResult]:
    """The results of the night's steps (from ``from_step`` on), in order. The first that fails ends the night; nothing
    is published then."""
    steps = steps_from(lake, config, ds, from_step)
    with lake.writer(config.pipeline, "night", ds):
        check_upstreams(lake, config, ds)
        return [load(f"{find(config.pipeline).module(step)}:run")(lake, config, ds) for step in steps]


def steps_from(lake: Lake, config: NightConfig, ds: date, first: str | None) -> tuple[str, ...]:
    """The steps of a night from ``first`` on, or all. Raises ConfigError for a step that is none, LakeError where one
    before it has not run."""
    names = find(config.pipeline).step_names
    if first is None:
        return names
    if first not in names:
        raise ConfigError(f"--from-step {first!r}: is no step of {config.pipeline!r}; one of {', '.join(names)}")
    where = {"pipeline": config.pipeline, "ds": ds, "status": "succeeded"}
    rows = lake.to_arrow("runs", lake.version("runs"), filters=where) if lake.exists("runs") else None
    done = set(rows["step"].to_pylist()) if rows else set()
    missing = [name for name in names[: names.index(first)] if name not in done]
    if missing:
        raise LakeError(
            f"{lake.path}: --from-step {first}: {missing[0]} has not succeeded on {ds}; start from it, or without"
        )
    return names[names.index(first) :]
