"""What the models of a night are trained from, as one folder that every rank opens; and the night's facts by number.

Legend of shape suffixes: N entities, R relations, E triples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, KnownTails, both_ways
from roilake.runtime.step import Recorder

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Facts:
    """A night's entities and relations in the order of their numbers, and the triples of each split [E, 3]."""

    entities: pa.Table
    relations: pa.Table
    triples: dict[str, Tensor]

    @property
    def graph(self) -> KnowledgeGraph:
        """What models see."""
        entities, relations = (tuple(table["text"].to_pylist()) for table in (self.entities, self.relations))
        return KnowledgeGraph(entities, relations, self.triples["train"])

    @property
    def items_N(self) -> NDArray[np.bool_]:
        """Which entities are items [N]."""
        lengths: NDArray[np.int64] = pc.list_value_length(self.entities["items"]).to_numpy()
        return lengths > 0

    def known(self, *splits: str) -> KnownTails:
        """The tails of these splits, both ways."""
        relations = self.relations.num_rows
        return KnownTails.of(both_ways(torch.cat([self.triples[name] for name in splits]), relations), 2 * relations)


def read_facts(record: Recorder) -> Facts:
    """The night's graph."""
    entities = record.rows("entity_texts").sort_by("entity").combine_chunks()
    relations = record.rows("relations").sort_by("relation").combine_chunks()
    rows = record.rows("triples").sort_by([(name, "ascending") for name in ("head", "relation", "tail")])
    keys = {"head": entities["key"], "relation": relations["key"], "tail": entities["key"]}
    numbers = [pc.index_in(rows[name], value_set=key.combine_chunks()).to_numpy() for name, key in keys.items()]
    triple_E3 = torch.from_numpy(np.stack(numbers, axis=1).astype(np.int64))
    split = rows["split"].to_numpy(zero_copy_only=False)
    return Facts(entities, relations, {name: triple_E3[torch.from_numpy(split == name)] for name in SPLITS})


@dataclass(frozen=True)
class KgInputs:
    """What training may see: the graph, and the triples that choose the step that is kept."""

    graph: KnowledgeGraph
    validation_V3: Tensor

    def save(self, folder: Path) -> None:
        """As files in ``folder``."""
        for name, texts in (("entities", self.graph.entity_text), ("relations", self.graph.relation_text)):
            feather.write_feather(pa.table({"text": pa.array(texts, pa.string())}), str(folder / name))
        for name, triple_E3 in (("train", self.graph.train_E3), ("validation", self.validation_V3)):
            np.save(folder / f"{name}.npy", triple_E3.numpy())

    @classmethod
    def open(cls, folder: Path) -> KgInputs:
        """What ``save`` wrote."""
        entities, relations = (
            tuple(feather.read_table(str(folder / name))["text"].to_pylist()) for name in ("entities", "relations")
        )
        train_E3, validation_V3 = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in SPLITS[:2])
        return cls(KnowledgeGraph(entities, relations, train_E3), validation_V3)
