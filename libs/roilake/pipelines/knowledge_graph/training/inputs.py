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
_TRIPLES = "triples.npz"


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

    def save(self, folder: Path) -> None:
        """As files in ``folder``, for tasks that see them."""
        for name, table in (("entities", self.entities), ("relations", self.relations)):
            feather.write_feather(table, str(folder / name))
        np.savez(folder / _TRIPLES, **{name: triple_E3.numpy() for name, triple_E3 in self.triples.items()})

    @classmethod
    def open(cls, folder: Path) -> Facts:
        """What ``save`` wrote."""
        entities, relations = (feather.read_table(str(folder / name)) for name in ("entities", "relations"))
        with np.load(folder / _TRIPLES, allow_pickle=False) as found:
            return cls(entities, relations, {name: torch.from_numpy(found[name]) for name in SPLITS})

    @property
    def triples_N(self) -> NDArray[np.int64]:
        """The number of known triples with each entity [N]; a loop counts once."""
        triple_E3 = torch.cat(list(self.triples.values())).numpy()
        loops_E = triple_E3[:, 0] == triple_E3[:, 2]
        ends = np.concatenate([triple_E3[:, 0], triple_E3[~loops_E, 2]])
        return np.bincount(ends, minlength=self.entities.num_rows)

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

    @property
    def known(self) -> KnownTails:
        """The tails of both, both ways."""
        triple_E3 = torch.cat([self.graph.train_E3, self.validation_V3])
        return KnownTails.of(both_ways(triple_E3, self.graph.relations), 2 * self.graph.relations)

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
