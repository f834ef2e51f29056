"""What a retrieval night's config must keep to, beyond what its types say."""

from __future__ import annotations

from roilake.config.base import BEST
from roilake.errors import ConfigError
from roilake.pipelines.retrieval import models
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi import Layouts


def check(config: RetrievalConfig) -> None:
    """Raises ConfigError, as ``RetrievalConfig.check`` says."""
    for model in config.models.values():
        models.check(model.kind, dict(model.options))
    Layouts.of(config.roi)
    _check_edges(config)
    _check_fields(config)
    best = config.default_model == BEST
    if not any(may_serve(config, name) for name in (config.models if best else (config.default_model,))):
        without = "no model has any" if best else f"{config.default_model} has none"
        raise ConfigError(
            f"scoring.index: {config.scoring.index} needs item vectors, and {without}; set it exact or name another "
            "default_model"
        )


def may_serve(config: RetrievalConfig, name: str) -> bool:
    """Whether the model can rank items for recommendations: by an approximate index only one with item vectors can."""
    return config.scoring.index == "exact" or not models.is_matrix_kind(config.models[name].kind)


def _check_edges(config: RetrievalConfig) -> None:
    found = [f"evaluation.slices.{name}" for name, cut in config.evaluation.slices.items() if cut.by == "edge_type"]
    if found and not config.graph.edges:
        raise ConfigError(f"graph.edges: false, but {', '.join(found)} read that table; set it true or remove these")


def _check_fields(config: RetrievalConfig) -> None:
    """Fields that a model is to do without are there."""
    source = config.source
    known = {name for of_type in (source.users, source.items, source.queries) if of_type for name in of_type.fields}
    known |= {config.graph.labels.field} if config.graph.labels else set()
    for name, model in config.models.items():
        strange = sorted({*model.options.get("without_fields", ())} - known)
        if strange:
            raise ConfigError(
                f"models.{name}.options.without_fields: no node has a field {strange[0]!r}; there are "
                f"{', '.join(sorted(known)) or 'none'}"
            )
