"""Read YAML into config sections. An unknown or ill-typed key is an error that names file, key and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from roilake.config.base import GatesConfig, Strict
from roilake.errors import ConfigError

Section = TypeVar("Section", bound=Strict)


def load_gates(path: str | Path) -> GatesConfig:
    """Read and validate a YAML file of bounds. Raises ConfigError."""
    return validated(GatesConfig, read_mapping(Path(path), "start from conf/gates/retrieval.yaml"), path)


def read_mapping(path: Path, hint: str) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ConfigError, with ``hint``, where it holds none."""
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no mapping; {hint}")
    return tree


def validated(section: type[Section], tree: dict[str, Any], path: str | Path) -> Section:
    """The section that a tree of keys describes. Raises ConfigError that names the first bad key of file ``path``."""
    try:
        return section.model_validate(tree)
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
