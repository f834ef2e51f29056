"""The pipelines that there are, and what is derived from their declarations. Light: no pyspark, no torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from roilake.config import NightConfig, load_gates, read_mapping, validated
from roilake.errors import ConfigError
from roilake.lake.tables import SHARED, Table
from roilake.pipelines import PIPELINES
from roilake.runtime.pipeline import PUBLISH, Pipeline


@cache
def pipelines() -> dict[str, Pipeline]:
    """All pipelines by name, in the registry's order. Raises ConfigError for a module that declares none."""
    named = [name.strip() for name in os.environ.get("ROILAKE_PIPELINES", "").split(",") if name.strip()]
    found = [_declared(module) for module in (*PIPELINES, *named)]
    return {pipeline.name: pipeline for pipeline in found}


def _declared(module: str) -> Pipeline:
    try:
        declared: Pipeline = importlib.import_module(module).PIPELINE
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{module}: declares no PIPELINE that can be loaded ({error}); mend it, or ROILAKE_PIPELINES"
        ) from error
    return declared


def find(name: str) -> Pipeline:
    """The pipeline of this name. Raises ConfigError, which lists those that there are."""
    known = pipelines()
    if name not in known:
        raise ConfigError(f"no pipeline {name!r}; there are {', '.join(known)}")
    return known[name]


def load_config(path: str | Path, pipeline: str | None = None) -> NightConfig:
    """Read, validate and check a night's YAML whole; ``pipeline`` in it says of which pipeline it is, and it must be
    of this ``pipeline`` where one is named. ``gates`` may name a YAML file, and ``preset`` one whose keys the night
    takes where it has none of its own, both relative to that of the night. Raises ConfigError with file, key and
    what to do."""
    tree = read_mapping(Path(path), "start from one in conf/nights")
    if isinstance(tree.get("preset"), str):
        with _naming(f"{path}: preset"):
            tree = {**read_mapping(Path(path).parent / tree.pop("preset"), "start from one in conf/presets"), **tree}
    if isinstance(tree.get("gates"), str):
        with _naming(f"{path}: gates"):
            tree["gates"] = load_gates(Path(path).parent / tree["gates"])
    name, known = tree.get("pipeline"), ", ".join(pipelines())
    if not isinstance(name, str) or name not in pipelines():
        raise ConfigError(f"{path}: bad value 'pipeline': {name!r} is no pipeline; one of {known}")
    if pipeline not in (None, name):
        raise ConfigError(
            f"{path}: is a night of pipeline {name!r}, and this needs one of {pipeline!r}: name another file"
        )
    config = validated(find(name).config, tree, path)
    with _naming(path):
        config.check()
    return config.read_from(Path(path).absolute())


@contextmanager
def _naming(where: str | Path) -> Iterator[None]:
    """A ConfigError within says where it arose."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def tables() -> dict[str, Table]:
    """All tables by name: those that all pipelines share, then those of each."""
    owned = (table for pipeline in pipelines().values() for table in pipeline.tables)
    return {table.name: table for table in (*SHARED, *owned)}


def owner(table: str) -> Pipeline | None:
    """The pipeline that a table belongs to; None for a shared one."""
    return next((p for p in pipelines().values() if table in {each.name for each in p.tables}), None)


def writers(table: str) -> list[str]:
    """Steps that write a table, as ``pipeline.step``."""
    if table in ("gates", "publications"):
        return [f"{name}.{PUBLISH}" for name in pipelines()]
    if table == "runs":
        return ["every step"]
    return [f"{p.name}.{s.name}" for p in pipelines().values() for s in p.steps if table in s.writes]


def readers(table: str) -> list[str]:
    """Steps that read a table, as ``pipeline.step``, those of other pipelines among them."""
    steps = [(p.name, step) for p in pipelines().values() for step in p.steps]
    return [f"{name}.{step.name}" for name, step in steps if table in {read.split(".")[-1] for read in step.reads}]
