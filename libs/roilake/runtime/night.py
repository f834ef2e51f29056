"""Run a whole night: every step in order, in one Spark session."""

from __future__ import annotations

from datetime import date

from roilake.config import NightConfig
from roilake.lake import Lake
from roilake.runtime.pipeline import load
from roilake.runtime.registry import find
from roilake.runtime.step import StepResult
from roilake.runtime.upstreams import check_upstreams


def run_night(lake: Lake, config: NightConfig, ds: date) -> list[StepResult]:
    """The results of the night's steps, in order. The first that fails ends the night; nothing is published then."""
    pipeline = find(config.pipeline)
    check_upstreams(lake, config, ds)
    return [load(f"{pipeline.module(step)}:run")(lake, config, ds) for step in pipeline.step_names]
