"""What a retrieval night's config must keep to, beyond what its types say."""

from __future__ import annotations

from roilake.errors import ConfigError
from roilake.pipelines.retrieval import models
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi import Layouts


def check(config: RetrievalConfig) -> None:
    """Raises ConfigError, as ``RetrievalConfig.check`` says."""
    if config.default_model not in config.models:
        known = ", ".join(config.models) or "none"
        raise ConfigError(
            f"default_model: {config.default_model!r} is not among the models ({known}); add it or name one"
        )
    for model in config.models.values():
        models.check(model.kind, dict(model.options))
    Layouts.of(config.roi)
    _check_edges(config)
    if config.scoring.index != "exact" and models.is_matrix_kind(config.models[config.default_model].kind):
        raise ConfigError(
            f"scoring.index: {config.scoring.index} needs item vectors, and {config.default_model} has none; set it "
            f"exact or name another default_model"
        )


def _check_edges(config: RetrievalConfig) -> None:
    readers = {
        "scoring.drop_seen": config.scoring.drop_seen,
        **{f"evaluation.slices.{name}": cut.by == "edge_type" for name, cut in config.evaluation.slices.items()},
        **{f"models.{name}": models.is_matrix_kind(model.kind) for name, model in config.models.items()},
    }
    found = [key for key, reads in readers.items() if reads]
    if found and not config.graph.edges:
        raise ConfigError(f"graph.edges: false, but {', '.join(found)} read that table; set it true or remove these")
