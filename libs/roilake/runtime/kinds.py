"""What differs between the kinds of nights, as data: their jobs, their tables, and where their models are judged.

A lake holds nights of one kind. What a kind's jobs do is theirs; whoever only orders, audits, reports or compares
nights reads the differences here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roilake.config.base import NightConfig
from roilake.errors import LakeError
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.retrieval.config import RetrievalConfig


@dataclass(frozen=True)
class Place:
    """Where models are judged: the metrics of ``slices`` of ``split`` (of a metric that several have, the first's).
    ``title`` says what that is, ``name`` says it in two words."""

    split: str
    slices: tuple[str, ...]
    name: str
    title: str


@dataclass(frozen=True)
class Kind:
    """``jobs`` are those before publishing, in their order. ``source`` is the table that its first job writes.
    ``places`` come in the order of their weight: the first that a night has stands for it."""

    name: str
    config: type[NightConfig]
    jobs: tuple[str, ...]
    source: str
    training: tuple[str, ...]  # jobs that train models
    judging: str  # the job that measures them
    served: str  # the table that consumers wait for
    noun: str  # one of its rows
    places: tuple[Place, ...]


GRAPH = Kind(
    name="graph",
    config=RetrievalConfig,
    jobs=(
        "ingest_events", "build_graph", "build_requests", "embed_interests", "build_rois", "train_models",
        "score_requests", "evaluate_models",
    ),
    source="events",
    training=("train_models",),
    judging="evaluate_models",
    served="recommendations",
    noun="recommendation",
    places=(Place("test", ("all",), "test windows", "Test windows, all requests"),),
)  # fmt: skip
CONVERSIONS = Kind(
    name="conversions",
    config=ConversionConfig,
    jobs=(
        "build_impressions", "train_cvr_teacher", "write_pseudo_labels", "train_cvr", "score_conversions",
        "evaluate_conversions",
    ),
    source="impressions",
    training=("train_cvr_teacher", "train_cvr"),
    judging="evaluate_conversions",
    served="cvr_scores",
    noun="score",
    places=(
        Place("unbiased", ("all",), "all pairs", "Pairs drawn at random, clicked or not: their conversion if clicked"),
        Place(
            "test", ("clicked", "all"), "test days",
            "Impressions of the test split: conversion of its clicks; CTR and CTCVR of all",
        ),
    ),
)  # fmt: skip
KINDS = {kind.name: kind for kind in (GRAPH, CONVERSIONS)}
JOBS = tuple(job for kind in KINDS.values() for job in kind.jobs)
"""All jobs but the publishing one; those of a kind in their order."""


def kind_of(config: NightConfig | Mapping[str, Any]) -> Kind:
    """The kind of a night by its config, or by the config as a publication holds it (older ones do not say it)."""
    if isinstance(config, NightConfig):
        return next(kind for kind in KINDS.values() if isinstance(config, kind.config))
    return KINDS[config.get("night", GRAPH.name)]


def check_lake(lake: Lake, config: NightConfig) -> None:
    """Raises LakeError when the lake holds nights of another kind."""
    own = kind_of(config)
    for other in KINDS.values():
        if other is not own and lake.exists(other.source):
            raise LakeError(
                f"{lake.path}: holds nights of kind {other.name!r} (table {other.source}), and {config.name!r} is of "
                f"kind {own.name!r}: name another lake"
            )
