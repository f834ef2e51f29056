"""Run a whole night: every job in order, in one Spark session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from jobs import (
    build_graph,
    build_requests,
    build_rois,
    embed_interests,
    evaluate_models,
    ingest_events,
    publish_night,
    score_requests,
    train_models,
)
from roilake.config import NightConfig
from roilake.job import JobResult
from roilake.lake import Lake

Job = Callable[[Lake, NightConfig, date], JobResult]

JOBS: tuple[Job, ...] = (
    ingest_events.run,
    build_graph.run,
    build_requests.run,
    embed_interests.run,
    build_rois.run,
    train_models.run,
    score_requests.run,
    evaluate_models.run,
    publish_night.run,
)


def run(lake: Lake, config: NightConfig, ds: date) -> list[JobResult]:
    """The results of the night's jobs, in order. The first that fails ends the night; nothing is published then."""
    return [job(lake, config, ds) for job in JOBS]
