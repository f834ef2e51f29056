"""Models of conversion after a click: no Spark and no I/O. One file per model, named as a config's ``kind``, holds
``Options`` (validated) and ``Model(options, schema)`` with ``terms`` (its loss) and ``predict``; see ``batch``. A new
model costs one file."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from roilake.errors import ConfigError
from roilake.pipelines.conversion.models.batch import (
    Field,
    ImpressionBatch,
    ImpressionSchema,
    Prediction,
    Term,
)
from roilake.pipelines.conversion.models.towers import ConversionModel, ConversionOptions
from roilake.training.options import validated

__all__ = [
    "ConversionModel",
    "Field",
    "ImpressionBatch",
    "ImpressionSchema",
    "Prediction",
    "Term",
    "build",
    "check",
    "kinds",
    "needs_teacher",
]

_SHARED = {"batch", "ensemble", "entire_space", "losses", "towers"}


def kinds() -> tuple[str, ...]:
    """Names of all conversion models: the files beside this one that are not shared parts."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED))


def check(kind: str, options: dict[str, Any]) -> ConversionOptions:
    """The options of a model of this kind, validated. Raises ConfigError for an unknown kind or option."""
    checked: ConversionOptions = validated(_module(kind).Options, kind, options)
    return checked


def needs_teacher(kind: str, options: dict[str, Any]) -> bool:
    """True for a model that learns from pseudo-labels with these options. Raises ConfigError as ``check``."""
    return bool(getattr(check(kind, options), "needs_teacher", False))


def build(kind: str, options: dict[str, Any], schema: ImpressionSchema) -> ConversionModel:
    """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
    model: ConversionModel = _module(kind).Model(check(kind, options), schema)
    return model


def _module(kind: str) -> ModuleType:
    if kind not in kinds():
        raise ConfigError(f"models: unknown kind {kind!r}: one of {', '.join(kinds())}")
    return importlib.import_module(f"roilake.pipelines.conversion.models.{kind}")
