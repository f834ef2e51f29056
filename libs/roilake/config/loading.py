"""Read a night's YAML. An unknown or ill-typed key is an error that names file, key and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from roilake.config.base import GatesConfig, Night, Strict
from roilake.config.conversions import ConversionsConfig
from roilake.config.graph import NightConfig
from roilake.errors import ConfigError

Section = TypeVar("Section", bound=Strict)
Config = TypeVar("Config", bound=Night)
NIGHTS: dict[str, type[Night]] = {"graph": NightConfig, "conversions": ConversionsConfig}


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read and validate a night's YAML; ``night`` says of which kind it is (``graph`` when it is silent), and it must
    be of this ``kind`` (``Night``: of any). ``gates`` may name a YAML file, relative to that of the night. Raises
    ConfigError with file, key and what to do."""
    tree = _read_mapping(Path(path), "start from conf/nights/movielens.yaml")
    if isinstance(tree.get("gates"), str):
        tree["gates"] = load_gates(Path(path).parent / tree["gates"])
    night = tree.get("night", "graph")
    found = NIGHTS.get(night)
    if found is None:
        raise ConfigError(
            f"{path}: bad value 'night': {night!r} is no kind of night; one of {', '.join(NIGHTS)}"
        )
    if not issubclass(found, kind):
        wanted = next(name for name, each in NIGHTS.items() if each is kind)
        raise ConfigError(
            f"{path}: tells a night of kind {night!r}, and this needs one of {wanted!r}: name another file"
        )
    return _validated(found, tree, path)


def load_gates(path: str | Path) -> GatesConfig:
    """Read and validate a YAML file of bounds, as ``load_config`` does a night's."""
    return _validated(GatesConfig, _read_mapping(Path(path), "start from conf/gates/default.yaml"), path)


def _read_mapping(path: Path, hint: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no mapping; {hint}")
    return tree


def _validated(kind: type[Section], tree: dict[str, Any], path: str | Path) -> Section:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    first, rest = error.errors()[0], error.error_count() - 1
    key = ".".join(str(part) for part in first["loc"])
    hint = "remove it or correct its spelling" if first["type"] == "extra_forbidden" else first["msg"]
    more = f" (and {rest} more)" if rest else ""
    if not key:  # a check that spans sections names its keys itself
        return first["msg"].removeprefix("Value error, ") + more
    problem = "unknown key" if first["type"] == "extra_forbidden" else "bad value"
    return f"{problem} {key!r}: {hint}{more}"
