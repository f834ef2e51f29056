"""Models of knowledge graphs: no Spark. One file per model, named as a config's ``kind``, holds ``Options`` (validated)
and ``Model(options, graph)`` with

    queries(head_Q, relation_Q)   [Q, D]
    entities(first, last)         [n, D], of the entities from ``first`` to ``last``
    scores(query_QD, entity_nD)   [Q, n], higher is better
    asking(entity_ND)             what gives (head_Q, relation_Q) their scores [Q, N] while the weights stay as they are
    losses(batch)                 the terms of a training step

A new model costs one file."""

from __future__ import annotations

from typing import Any

from torch import nn

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph, KnownTails, TripleBatch, both_ways
from roilake.training.models import ModelFiles

__all__ = ["KnowledgeGraph", "KnownTails", "TripleBatch", "both_ways", "build", "check", "kinds"]

_FILES = ModelFiles(__name__, __path__, {"batch", "contrastive", "structural", "text"})
kinds, check = _FILES.kinds, _FILES.check


def build(kind: str, options: dict[str, Any], graph: KnowledgeGraph) -> nn.Module:
    """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
    return _FILES.build(kind, options, graph)
