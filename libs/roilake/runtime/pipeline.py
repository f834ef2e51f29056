"""What a pipeline is: a published method at work, declared once.

A declaration is light to import (no pyspark, no torch): readers and the command line load it. What a step or a
section does is named as ``module:attribute`` and imported when it is needed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from roilake.config import NightConfig
from roilake.lake.tables import Table


@dataclass(frozen=True)
class Step:
    """One scheduled step, in module ``JOBS.name`` (see ``Pipeline.jobs``), which has ``run(lake, config, ds)``.

    ``reads`` and ``writes`` are its tables. ``trains``: its details hold figures of models. ``reconciles``: its rows
    in are out, in quarantine, or later than the night."""

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    trains: bool = False
    reconciles: bool = False


@dataclass(frozen=True)
class Upstream:
    """A table of another pipeline that this one reads, as of that pipeline's last publication before the night's own
    end. ``purpose`` says in some words what for. Whether a night uses it, ``NightConfig.upstreams`` says."""

    pipeline: str
    table: str
    purpose: str
    optional: bool = False


@dataclass(frozen=True)
class EvaluationSet:
    """Where models are evaluated: the metrics of ``slices`` of ``split`` (of a metric that several have, the first's).
    ``title`` says what that is, ``name`` says it in two words."""

    split: str
    slices: tuple[str, ...]
    name: str
    title: str


@dataclass(frozen=True)
class Pipeline:
    """``tables`` are its own; ``steps`` run in this order, and then the night is published. ``evaluated`` sets come
    in the order of their weight: the first that a night has stands for it. ``served`` is the table that consumers
    wait for, and ``noun`` one of its rows; ``source`` the table that its first step fills. ``metrics`` are those that
    only its own evaluation computes, ``slices`` the names of those that each of its nights has, and what they hold.

    What is named as ``module:attribute``: ``filled(config) -> Sequence[str]``, tables that must have rows of the night
    (all of ``tables`` without it); ``checks(lake, config, ds, versions, metrics) -> Iterable[GateResult]``, what is
    audited beside what every night is; ``figures(lake, publication) -> object``, what its page needs of its own tables
    (``NightData.own``); ``sections`` each ``(ReportData) -> Section | None``, what the page shows beside what every
    page does; ``volume(ReportData) -> str``, the headline's sentence on what came in; ``texts``, a
    ``roilake.report.Texts``: how its page explains what every page shows; ``estimate(lake, config, ds) -> Estimate``,
    in place of the estimate from earlier nights' runs."""

    name: str
    title: str
    config: type[NightConfig]
    tables: tuple[Table, ...]
    steps: tuple[Step, ...]
    evaluated: tuple[EvaluationSet, ...]
    served: str
    noun: str
    source: str
    upstreams: tuple[Upstream, ...] = ()
    metrics: tuple[str, ...] = ()
    slices: tuple[tuple[str, str], ...] = ()
    filled: str = ""
    checks: str = ""
    figures: str = ""
    sections: tuple[str, ...] = ()
    volume: str = ""
    texts: str = ""
    estimate: str = ""
    jobs: str = ""
    """The package of its steps' modules: ``jobs.NAME`` where it is left out."""

    def module(self, step: str) -> str:
        """The module of a step."""
        return f"{self.jobs or f'jobs.{self.name}'}.{step}"

    @property
    def step_names(self) -> tuple[str, ...]:
        """All steps in their order, the publishing one last."""
        return (*(step.name for step in self.steps), PUBLISH)


PUBLISH = "publish_night"
"""The last step of every pipeline."""


def load(reference: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
