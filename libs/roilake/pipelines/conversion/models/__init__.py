"""Models of conversion after a click: no Spark and no I/O. One file per model, named as a config's ``kind``, holds
``Options`` (validated) and ``Model(options, schema)`` with ``terms`` (its loss) and ``predict``; see ``batch``. A new
model costs one file."""

from __future__ import annotations

from typing import Any

from roilake.pipelines.conversion.models.batch import Field, ImpressionBatch, ImpressionSchema, Prediction
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.models import ModelFiles

__all__ = [
    "ConversionModel", "Field", "ImpressionBatch", "ImpressionSchema", "Prediction", "build", "check",
    "kinds", "needs_teacher",
]  # fmt: skip

_FILES = ModelFiles(__name__, __path__, {"batch", "ensemble", "losses", "towers"})
kinds, check = _FILES.kinds, _FILES.check


def needs_teacher(kind: str, options: dict[str, Any]) -> bool:
    """True for a model that learns from pseudo-labels with these options. Raises ConfigError as ``check``."""
    return bool(getattr(check(kind, options), "needs_teacher", False))


def build(kind: str, options: dict[str, Any], schema: ImpressionSchema) -> ConversionModel:
    """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
    return _FILES.build(kind, options, schema)
