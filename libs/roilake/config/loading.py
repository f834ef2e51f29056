"""Read YAML into config sections. An unknown or ill-typed key is an error that names file, key and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from roilake.config.base import GatesConfig, Strict
from roilake.errors import ConfigError

Section = TypeVar("Section", bound=Strict)

_MOST_BYTES, _MOST_ENTRIES = 1_000_000, 100_000
"""Of a config: a few thousand bytes are usual."""


def load_gates(path: str | Path) -> GatesConfig:
    """Read and validate a YAML file of bounds. Raises ConfigError."""
    return validated(GatesConfig, read_mapping(Path(path), "start from conf/gates/retrieval.yaml"), path)


def read_mapping(path: Path, hint: str) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ConfigError, with ``hint``, where it holds none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"{path}: is larger than {_MOST_BYTES:,} bytes, so no config; {hint}")
        tree = yaml.load(text, Loader=_Loader)  # a SafeLoader
        entries = _entries(tree, _MOST_ENTRIES)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no mapping; {hint}")
    if entries > _MOST_ENTRIES:
        raise ConfigError(f"{path}: its anchors unfold to more than {_MOST_ENTRIES:,} entries; write them out")
    return tree


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    where = f"line {key.start_mark.line + 1}"
                    raise yaml.YAMLError(f"key {key.value!r} stands twice, again in {where}; remove one of them")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _entries(tree: Any, most: int) -> int:
    """Entries of a tree in which anchors stand for what they name; a number above ``most`` where there are more."""
    parts = list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    count = 1
    for part in parts:
        if count > most:
            break
        count += _entries(part, most - count)
    return count


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
