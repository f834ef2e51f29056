"""Run a whole night: every job in order, in one Spark session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from jobs.conversion import (
    build_impressions,
    evaluate_conversions,
    score_conversions,
    train_cvr,
    train_cvr_teacher,
    write_pseudo_labels,
)
from jobs.retrieval import (
    build_graph,
    build_requests,
    build_rois,
    embed_interests,
    evaluate_models,
    ingest_events,
    score_requests,
    train_models,
)
from roilake.config.base import NightConfig
from roilake.errors import ConfigError
from roilake.lake import Lake
from roilake.pipelines.conversion import models as conversion
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.retrieval import models
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.runtime import publish as publish_night
from roilake.runtime.step import JobResult

Job = Callable[[Lake, Any, date], JobResult]

JOBS: dict[type[NightConfig], tuple[Job, ...]] = {
    RetrievalConfig: (
        ingest_events.run,
        build_graph.run,
        build_requests.run,
        embed_interests.run,
        build_rois.run,
        train_models.run,
        score_requests.run,
        evaluate_models.run,
        publish_night.run,
    ),
    ConversionConfig: (
        build_impressions.run,
        train_cvr_teacher.run,
        write_pseudo_labels.run,
        train_cvr.run,
        score_conversions.run,
        evaluate_conversions.run,
        publish_night.run,
    ),
}


def run(lake: Lake, config: NightConfig, ds: date) -> list[JobResult]:
    """The results of the night's jobs, in order. The first that fails ends the night; nothing is published then."""
    return [job(lake, config, ds) for job in JOBS[type(config)]]


def check(config: NightConfig) -> None:
    """What later jobs would stumble over, before the first one starts. Raises ConfigError for a default model that is
    not among the models, a model's unknown kind or option, hops that lead nowhere, what reads a table ``edges`` that
    the night does not write, and students and teachers that do not fit."""
    if isinstance(config, RetrievalConfig):
        _check_graph(config)
    if isinstance(config, ConversionConfig):
        _check_conversions(config)


def _check_conversions(config: ConversionConfig) -> None:
    both = [name for name in config.teachers if name in config.models]
    if both:
        raise ConfigError(f"teachers: {both[0]!r} is the name of a model, too: give it another")
    teachers = ", ".join((*config.teachers, *config.ensembles)) or "none yet"
    for name, teacher in config.teachers.items():
        if conversion.needs_teacher(teacher.kind, dict(teacher.options)) or teacher.teacher:
            raise ConfigError(
                f"teachers.{name}: a teacher has no teacher: choose a kind that learns from clicks"
            )
    for name, model in config.models.items():
        if conversion.needs_teacher(model.kind, dict(model.options)) and model.teacher is None:
            raise ConfigError(
                f"models.{name}: kind {model.kind!r} learns from pseudo-labels; name its teacher, one of teachers "
                f"({teachers})"
            )
        if model.teacher and not conversion.needs_teacher(model.kind, {}):
            raise ConfigError(
                f"models.{name}: kind {model.kind!r} listens to no teacher; remove teacher: {model.teacher}"
            )


def _check_graph(config: RetrievalConfig) -> None:
    if config.default_model not in config.models:
        known = ", ".join(config.models) or "none"
        raise ConfigError(
            f"default_model: {config.default_model!r} is not among the models ({known}); add it or name one"
        )
    for model in config.models.values():
        models.check(model.kind, dict(model.options))
    RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS)
    RoiLayout.of(config.roi.item_hops, ITEM_ROOTS)
    _check_edges(config)
    if config.scoring.index != "exact" and models.is_matrix_kind(config.models[config.default_model].kind):
        raise ConfigError(
            f"scoring.index: {config.scoring.index} needs item vectors, and {config.default_model} has none; set it "
            f"exact or name another default_model"
        )


def _check_edges(config: RetrievalConfig) -> None:
    readers = {
        "scoring.drop_seen": config.scoring.drop_seen,
        **{
            f"evaluation.slices.{name}": cut.by == "edge_type"
            for name, cut in config.evaluation.slices.items()
        },
        **{f"models.{name}": models.is_matrix_kind(model.kind) for name, model in config.models.items()},
    }
    found = [key for key, reads in readers.items() if reads]
    if found and not config.graph.edges:
        raise ConfigError(
            f"graph.edges: false, but {', '.join(found)} read that table; set it true or remove these"
        )
