"""The models of a pipeline: one file each in its package ``models``, found by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from roilake.config import Strict
from roilake.errors import ConfigError


class Options(Strict):
    """Options of a model; each model's own subclass is named ``Options``. Unknown names are errors."""


class ModelFiles:
    """The files of a package that hold ``Options`` (validated) and ``Model(options, ...)`` each; a model's ``kind`` is
    the name of its file. ``shared`` names the files that are parts of several models."""

    def __init__(self, package: str, path: Sequence[str], shared: Collection[str]) -> None:
        self._package, self._path, self._shared = package, path, shared

    def kinds(self) -> tuple[str, ...]:
        """Names of all models, sorted."""
        return tuple(sorted(m.name for m in pkgutil.iter_modules(self._path) if m.name not in self._shared))

    def check(self, kind: str, options: dict[str, Any]) -> BaseModel:
        """The options of a model of this kind. Raises ConfigError for an unknown kind, or that names the first bad
        option."""
        known: type[BaseModel] = self.module(kind).Options
        try:
            return known.model_validate(options)
        except ValidationError as error:
            first, names = error.errors()[0], ", ".join(known.model_fields) or "none"
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"models: {kind}: option {key!r}: {first['msg']} (options: {names})") from error

    def build(self, kind: str, options: dict[str, Any], *arguments: Any) -> Any:
        """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
        return self.module(kind).Model(self.check(kind, options), *arguments)

    def module(self, kind: str) -> Any:
        """The file of this kind. Raises ConfigError for an unknown kind."""
        if kind not in self.kinds():
            raise ConfigError(f"models: unknown kind {kind!r}: one of {', '.join(self.kinds())}")
        return importlib.import_module(f"{self._package}.{kind}")
