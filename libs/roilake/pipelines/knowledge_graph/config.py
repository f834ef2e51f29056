"""What a night of the knowledge graph does: whose triples, which texts, what the models are, what is completed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from roilake.config.base import (
    ContestConfig,
    FileSource,
    HeldOut,
    IntakeConfig,
    ModelConfig,
    ModelName,
    Positive,
    Rate,
    RowSource,
    Share,
    Strict,
    TrainerConfig,
)
from roilake.metrics.slices import ALL, delta_vs_default
from roilake.pipelines.knowledge_graph.metrics import OWN, VALUED

SourceName = Annotated[str, Field(pattern=r"^\w+$")]
Split = Literal["train", "validation", "test"]


class TripleFile(RowSource):
    """A row a triple, as SQL expressions over the file's columns. ``tail`` may be an array: a triple for each entry.
    Without ``split`` it is drawn (see ``SplitShares``). ``unknown`` says what becomes of a triple with an entity that
    no file of ``entities`` has: it is quarantined, left out and counted, or the entity's key is its text."""

    head: str
    relation: str
    tail: str
    split: Split | None = None
    unknown: Literal["reject", "leave_out", "key_is_text"] = "reject"


class TextFile(RowSource):
    """``text`` of an entity or a relation, best as ``name: description``; null or blank where there is none."""

    key: str
    text: str


class AliasFile(RowSource):
    """Another key of an entity: triples and items that name ``alias`` mean ``key``."""

    alias: str
    key: str


class ItemFile(RowSource):
    """The item (by its key in the events of other pipelines) that an entity is. Several items may be one entity."""

    entity: str
    item: str


class SplitShares(HeldOut):
    """Of the triples without a split of their own, drawn by a keyed hash of the two entities in either order: all
    triples of two entities are in one split, so that no inverse or double of a test triple is learnt from."""

    validation: Share = 0.05
    test: Share = 0.1


class TripleGraphConfig(IntakeConfig):
    """Files of triples, of texts, of other keys of entities, and of the items that entities are. A relation without a
    text has its key's words. Texts are cut to ``longest_text`` characters."""

    triples: Annotated[dict[SourceName, TripleFile], Field(min_length=1)]
    entities: dict[SourceName, TextFile] = {}
    relations: TextFile | None = None
    aliases: AliasFile | None = None
    items: ItemFile | None = None
    split: SplitShares = SplitShares()
    longest_text: Positive = 2000

    @model_validator(mode="after")
    def _some_entity_is_known(self) -> TripleGraphConfig:
        strict = [name for name, file in self.triples.items() if file.unknown != "key_is_text"]
        if strict and not self.entities:
            raise ValueError(
                f"graph.triples.{strict[0]}.unknown: is {self.triples[strict[0]].unknown}, and without graph.entities "
                "every entity is unknown; name files of entities, or say key_is_text"
            )
        return self

    @property
    def sources(self) -> dict[str, FileSource]:
        """All files, by their name in the account of the night."""
        single = {"relations": self.relations, "aliases": self.aliases, "items": self.items}
        return {
            **{f"triples.{name}": file for name, file in self.triples.items()},
            **{f"entities.{name}": file for name, file in self.entities.items()},
            **{name: file for name, file in single.items() if file},
        }


class KgTrainingConfig(TrainerConfig):
    """A triple is learnt from both ways: its tail of (head, relation), and its head of (tail, inverse relation)."""

    workers: Positive = 1
    epochs: Positive = 10
    batch_size: Positive = 512  # queries of a step over all ranks: two a triple
    validate_every: Positive = 1  # epochs
    validation_triples: Positive = 500
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip_norm: Rate | None = 10.0


class KgModelConfig(ModelConfig):
    """A model of ``knowledge_graph.models``; what it does not say of its training, ``training`` does. ``rerank``: what
    is near the head in the known graph gets a bonus, as high and as far as validation prefers."""

    epochs: Positive | None = None
    batch_size: Positive | None = None
    rerank: bool = False


class HybridConfig(Strict):
    """Two of the models, whose scores are added by the weight that validation prefers."""

    text: ModelName
    structure: ModelName


class CompletionConfig(Strict):
    """What is looked for: the ``top`` best new tails of each (head, relation), and with ``head`` among ``sought`` the
    best new heads of each (relation, tail). Asked are entities that have a known fact of the relation (``seen``), with
    ``items`` also all that are items where some item has it, or ``all``. Named are entities that are known as such a
    tail or head (``seen``), or ``all``. ``relations``: those to complete; None: all."""

    relations: tuple[str, ...] | None = None
    sought: Annotated[tuple[Literal["tail", "head"], ...], Field(min_length=1)] = ("tail",)
    asked: Literal["seen", "items", "all"] = "seen"
    named: Literal["seen", "all"] = "seen"
    top: Annotated[int, Field(gt=0, le=1000)] = 10


class KgEvaluationConfig(Strict):
    """``relations``: how many of the most frequent ones have a slice of their own; the rest is ``other``."""

    bootstrap: Positive = 200
    relations: Positive = 12


class KnowledgeGraphConfig(ContestConfig):
    """All that one night of the knowledge graph needs beside its ``ds`` and its lake. ``default_model: best`` is the
    model that the validation triples prefer by ``best_by``, until another one is better by more than their paired
    interval."""

    pipeline: Literal["knowledge_graph"]
    best_by: Literal["filtered_mrr", "hits@1", "hits@3", "hits@10"] = "filtered_mrr"
    graph: TripleGraphConfig
    models: dict[ModelName, KgModelConfig]
    hybrids: dict[ModelName, HybridConfig] = {}
    training: KgTrainingConfig = KgTrainingConfig()
    completion: CompletionConfig = CompletionConfig()
    evaluation: KgEvaluationConfig = KgEvaluationConfig()

    @model_validator(mode="after")
    def _hybrids_are_of_models(self) -> KnowledgeGraphConfig:
        for name, parts in self.hybrids.items():
            if name in self.models:
                raise ValueError(f"hybrids.{name}: is a model's name, too; rename one of them")
            for side, part in (("text", parts.text), ("structure", parts.structure)):
                if part not in self.models:
                    raise ValueError(
                        f"hybrids.{name}.{side}: {part!r} is not among the models ({', '.join(self.models)}); add it, "
                        "or name one"
                    )
        return self

    @property
    def evaluated(self) -> tuple[str, ...]:
        return (*self.models, *self.hybrids)

    def check(self) -> None:
        """Raises ConfigError for a model's unknown kind or option."""
        from roilake.pipelines.knowledge_graph import models  # needs torch, which takes seconds to import

        for model in self.models.values():
            models.check(model.kind, dict(model.options))

    def measured(self) -> Mapping[str, Mapping[str, Collection[str]]]:
        """Slices by metric by split."""
        delta = delta_vs_default()
        whole = dict.fromkeys(OWN, (ALL, delta))
        groups = tuple(f"{name}=VALUE" for name in VALUED)
        sliced = dict.fromkeys(OWN, (ALL, delta, *groups, *map(delta_vs_default, groups)))
        return {"validation": whole, "test": sliced}
