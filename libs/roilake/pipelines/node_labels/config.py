"""What a night of node labels does: whose graph, which label, and what the models are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from roilake.config.base import (
    ContestConfig,
    FileSource,
    Fraction,
    HeldOut,
    IntakeConfig,
    ModelConfig,
    ModelName,
    Positive,
    Rate,
    Share,
    Strict,
    TrainerConfig,
)
from roilake.metrics.slices import ALL, delta_vs_default
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.metrics import DEGREE, HOMOPHILY, OWN


class NodeFile(FileSource):
    """A row a node, as SQL expressions over its columns. ``label`` is null where nobody knows it; ``features`` is an
    array of texts, what the node has."""

    key: str
    label: str
    features: str | None = None


class EdgeFile(FileSource):
    """A row an edge, between the keys of two nodes, in either direction."""

    source: str
    target: str


class PublishedGraph(Strict):
    """The graph that ``retrieval`` published in the same lake, as of the end of its night. ``label`` is an SQL
    expression over columns ``key``, ``fields`` (a map), ``terms`` and ``title`` of its nodes of ``node_type``;
    ``hides`` names the fields that tell it, which are no features."""

    node_type: Literal["user", "query", "item"]
    label: str
    hides: tuple[str, ...]
    edge_types: Annotated[tuple[str, ...], Field(min_length=1)] = ("user_item", "item_user")


class LabelGraphConfig(IntakeConfig):
    """Files of nodes and edges, or a published graph. A feature that fewer than ``minimum_nodes`` nodes have is left
    out."""

    nodes: NodeFile | None = None
    edges: EdgeFile | None = None
    retrieval: PublishedGraph | None = None
    minimum_nodes: Positive = 2

    @model_validator(mode="after")
    def _one_graph(self) -> LabelGraphConfig:
        files = (self.nodes is not None, self.edges is not None)
        if files != ((False, False) if self.retrieval else (True, True)):
            raise ValueError("graph: name either retrieval, or files of both nodes and edges")
        intake = sorted(self.model_fields_set & IntakeConfig.model_fields.keys())
        if self.retrieval and intake:
            raise ValueError(f"graph.{intake[0]}: is for files; a published graph has been through its own night")
        return self


class LabelSplit(HeldOut):
    """Of the nodes with a known label, drawn by a keyed hash of the node's key and ``seed``: a node is in the same
    split on every night."""

    validation: Share = 0.32
    test: Share = 0.2


class TreeConfig(Strict):
    """Training on trees in place of the whole graph: around each of ``batch`` nodes a step ``fan_out`` neighbours, hop
    by hop, drawn anew in each of ``passes`` over the nodes to learn from, after which the model is validated. A model
    of L layers sees all it can by L + 1 hops. ``use: auto`` is where the whole graph does not fit (see
    ``NodeTrainingConfig``)."""

    use: Literal["auto", "always", "never"] = "auto"
    fan_out: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 5, 3)
    batch: Positive = 256
    passes: Positive = 20


class NodeTrainingConfig(TrainerConfig):
    """A step is one of the whole graph where that is estimated to take no more than ``memory_gb`` in each worker
    (default: half of this machine's, over the workers); else see ``trees``."""

    workers: Positive = 1
    memory_gb: Rate | None = None
    trees: TreeConfig = TreeConfig()
    steps: Positive = 400
    validate_every: Positive = 4
    learning_rate: Rate = 0.01
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    patience: Positive | None = 25  # validations


class NodeScoringConfig(Strict):
    """Readers may take labels above a probability as known: those are counted on the page."""

    sure: Fraction = 0.8


class NodeEvaluationConfig(Strict):
    bootstrap: Positive = 200


class NodeLabelsConfig(ContestConfig):
    """All that one night of node labels needs beside its ``ds`` and its lake. ``default_model: best`` is the model that
    the validation nodes prefer by ``best_by``, until another one is better by more than their paired interval."""

    pipeline: Literal["node_labels"]
    best_by: Literal["accuracy", "macro_f1", "cross_entropy"] = "accuracy"
    graph: LabelGraphConfig
    split: LabelSplit = LabelSplit()
    distribution: DistributionRules = DistributionRules()
    models: dict[ModelName, ModelConfig]
    training: NodeTrainingConfig = NodeTrainingConfig()
    scoring: NodeScoringConfig = NodeScoringConfig()
    evaluation: NodeEvaluationConfig = NodeEvaluationConfig()

    @property
    def evaluated(self) -> tuple[str, ...]:
        return tuple(self.models)

    @property
    def upstreams(self) -> dict[str, bool]:
        return {"retrieval": True} if self.graph.retrieval else {}

    def check(self) -> None:
        """Raises ConfigError for a model's unknown kind or option."""
        from roilake.pipelines.node_labels import models  # needs torch, which takes seconds to import

        for model in self.models.values():
            models.check(model.kind, dict(model.options))

    def measured(self) -> Mapping[str, Mapping[str, Collection[str]]]:
        """Slices by metric by split."""
        delta = delta_vs_default()
        whole = dict.fromkeys(OWN, (ALL, delta))
        groups = tuple(f"{name}=VALUE" for name in (HOMOPHILY, DEGREE))
        sliced = dict.fromkeys(OWN, (ALL, delta, *groups, *map(delta_vs_default, groups)))
        return {"validation": whole, "test": sliced}
