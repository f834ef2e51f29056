"""Models: torch modules, no Spark and no I/O. One file per model, named as a config's ``kind``: it holds ``Options``
(validated) and ``Model(options, schema, request_layout, item_layout)``: a new model costs one file and one config."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from pydantic import BaseModel, ValidationError

from roilake.errors import ConfigError
from roilake.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch, TypeFeatures
from roilake.models.tower import TwinTower
from roilake.roi.layout import RoiLayout

__all__ = [
    "FeatureSchema",
    "ItemBatch",
    "NodeFeatures",
    "RequestBatch",
    "TwinTower",
    "TypeFeatures",
    "build",
    "check",
    "kinds",
]

_SHARED = {"attention", "batch", "encoder", "graph_tower", "tower", "tree"}


def kinds() -> tuple[str, ...]:
    """Names of all models: the files beside this one that are not shared parts."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED))


def build(
    kind: str,
    options: dict[str, Any],
    schema: FeatureSchema,
    request_layout: RoiLayout,
    item_layout: RoiLayout,
) -> TwinTower:
    """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
    checked = check(kind, options)
    module = importlib.import_module(f"roilake.models.{kind}")
    model: TwinTower = module.Model(checked, schema, request_layout, item_layout)
    return model


def check(kind: str, options: dict[str, Any]) -> BaseModel:
    """The options of a model of this kind, validated. Raises ConfigError for an unknown kind or option."""
    if kind not in kinds():
        raise ConfigError(f"models: unknown kind {kind!r}: one of {', '.join(kinds())}")
    module = importlib.import_module(f"roilake.models.{kind}")
    try:
        checked: BaseModel = module.Options.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(module.Options.model_fields) or "none"
        raise ConfigError(f"models: {kind}: option {key!r}: {first['msg']} (options: {known})") from error
    return checked
