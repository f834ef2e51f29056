"""Trained models of a night, read again: their vectors of entities, and their scores.

Legend: N entities, n of them, q queries, D width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roilake.metrics.champion import find_champion
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer, evaluating
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph
from roilake.pipelines.knowledge_graph.training.night import open_model
from roilake.runtime.step import Recorder

BLOCK = 1024
"""Entities that are embedded at a time, everywhere alike, so that they have the same bits."""


@dataclass(frozen=True)
class SavedModel:
    """A model of the night; ``folder`` holds its weights."""

    name: str
    folder: Path

    def open(self, graph: KnowledgeGraph) -> OpenModel:
        """Ready to embed and to score."""
        return OpenModel(open_model(self.folder, graph), graph.entities)


@dataclass(frozen=True)
class OpenModel:
    """A model of N ``entities``, without dropout."""

    model: Any
    entities: int

    def vectors(self, first: int, last: int) -> Tensor:
        """Of the entities from ``first`` to ``last`` [n, D] float32."""
        starts = range(first, last, BLOCK)
        with evaluating(self.model):
            return torch.cat([self.model.entities(start, min(start + BLOCK, last)).float() for start in starts])

    def scorer(self, entity_ND: Tensor | None = None) -> Scorer:
        """Scores of all entities, whose vectors are made unless they are given."""
        return _Scores(self.model, self.vectors(0, self.entities) if entity_ND is None else entity_ND)


@dataclass(frozen=True)
class _Scores:
    model: Any
    entity_ND: Tensor

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        with evaluating(self.model):
            scores: Tensor = self.model.scores(self.model.queries(head_q, relation_q).float(), self.entity_ND)
        return scores


def saved_models(record: Recorder) -> dict[str, SavedModel]:
    """The night's models by name."""
    rows = record.rows("models").sort_by("name").to_pylist()
    return {row["name"]: SavedModel(row["name"], Path(record.lake.files.local(row["path"]))) for row in rows}


def serving_model(record: Recorder, config: KnowledgeGraphConfig) -> SavedModel:
    """The model that serves the night."""
    versions = {table: record.pin(table) for table in ("models", "champions")}
    champion = find_champion(record.lake, config.pipeline, record.run.ds, versions, config.default_model)
    return saved_models(record)[champion.model]
