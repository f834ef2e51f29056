"""Trained models of a night, read again: their vectors of entities, and their scores.

Legend: N entities, n of them, q queries, D width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from roilake.metrics.champion import find_champion
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.hybrid import Hybrid
from roilake.pipelines.knowledge_graph.evaluation.ranking import (
    ModelScores,
    NearBonus,
    Scorer,
    adjacency,
    entity_vectors,
)
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph
from roilake.pipelines.knowledge_graph.training.night import open_model
from roilake.runtime.step import Recorder
from roilake.training.artifacts import read_manifest

PARTS = "parts"
"""In a hybrid's manifest: the folders of its two models, below the pipeline's."""


class Opened(Protocol):
    """A model of the night, ready to embed and to score, without dropout."""

    def vectors(self, first: int, last: int) -> Tensor:
        """Of the entities from ``first`` to ``last`` [n, D] float32."""

    def scorer(self, entity_ND: Tensor | None = None) -> Scorer:
        """Scores of all entities, whose vectors are made unless they are given."""


@dataclass(frozen=True)
class SavedModel:
    """A model of the night; ``folder`` holds its weights."""

    name: str
    folder: Path

    def open(self, graph: KnowledgeGraph) -> Opened:
        """Ready to embed and to score."""
        return opened(self.folder, graph)


def opened(folder: Path, graph: KnowledgeGraph) -> Opened:
    """A model, or a hybrid of two, by its manifest."""
    manifest = read_manifest(folder)
    if PARTS in manifest:
        text, structure = (opened(folder.parents[2] / part, graph) for part in manifest[PARTS])
        return OpenHybrid(text, structure, manifest["weight"], graph.entities)
    return OpenModel(open_model(folder, graph), graph, *manifest["near"])


@dataclass(frozen=True)
class OpenModel:
    """A trained model; a ``bonus`` above 0 is for what is within so many ``hops`` of the head."""

    model: Any
    graph: KnowledgeGraph
    bonus: float = 0.0
    hops: int = 1

    def vectors(self, first: int, last: int) -> Tensor:
        return entity_vectors(self.model, first, last)

    def scorer(self, entity_ND: Tensor | None = None) -> Scorer:
        scores = ModelScores(self.model, self.graph.entities, entity_ND)
        if not self.bonus:
            return scores
        return NearBonus(scores, adjacency(self.graph.train_E3, self.graph.entities), self.bonus, self.hops)


@dataclass(frozen=True)
class OpenHybrid:
    """Two models, whose scores are added; vectors are those of the one and then of the other."""

    text: Opened
    structure: Opened
    weight: float
    entities: int

    def vectors(self, first: int, last: int) -> Tensor:
        return torch.cat([part.vectors(first, last) for part in (self.text, self.structure)], dim=1)

    def scorer(self, entity_ND: Tensor | None = None) -> Scorer:
        every = self.vectors(0, self.entities) if entity_ND is None else entity_ND
        width = self.text.vectors(0, 1).shape[1]
        parts = every[:, :width].contiguous(), every[:, width:].contiguous()
        return Hybrid(self.text.scorer(parts[0]), self.structure.scorer(parts[1]), self.weight)


def saved_models(record: Recorder) -> dict[str, SavedModel]:
    """The night's models by name."""
    rows = record.rows("models").sort_by("name").to_pylist()
    return {row["name"]: SavedModel(row["name"], Path(record.lake.files.local(row["path"]))) for row in rows}


def serving_model(record: Recorder, config: KnowledgeGraphConfig) -> SavedModel:
    """The model that serves the night."""
    versions = {table: record.pin(table) for table in ("models", "champions")}
    champion = find_champion(record.lake, config.pipeline, record.run.ds, versions, config.default_model)
    return saved_models(record)[champion.model]
