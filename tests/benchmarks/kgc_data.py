"""Data sets of the benchmark of knowledge graphs, as published.

Legend of shape suffixes: E triples."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, KnownTails, both_ways

SETS = ("umls", "codex_s", "wn18rr")
"""From small to large."""


@dataclass(frozen=True)
class KgData:
    """A graph with the triples of training, and those that choose and judge. ``negative``: of validation and test,
    plausible triples that are verified to be false."""

    name: str
    graph: KnowledgeGraph
    valid_E3: Tensor
    test_E3: Tensor
    negative: tuple[Tensor, Tensor] | None

    @cached_property
    def known(self) -> KnownTails:
        """All that a rank is filtered by."""
        every_E3 = torch.cat([self.graph.train_E3, self.valid_E3, self.test_E3])
        return KnownTails.of(both_ways(every_E3, self.graph.relations), 2 * self.graph.relations)


def load(name: str) -> KgData:
    """A data set by name, from ``$ROILAKE_DATA``."""
    folder = Path(os.environ.get("ROILAKE_DATA", "../shared/data"), name)
    entities, relations = _TEXTS[name](folder)
    numbers = [{key: number for number, key in enumerate(texts)} for texts in (entities, relations)]

    def triples(file: str) -> Tensor:
        rows = [[numbers[0][h], numbers[1][r], numbers[0][t]] for h, r, t in _rows(folder / file)]
        return torch.tensor(rows, dtype=torch.int64)

    train, valid, test = (triples(f"{split}.tsv.gz") for split in ("train", "valid", "test"))
    graph = KnowledgeGraph(tuple(entities.values()), tuple(relations.values()), train)
    has_negatives = (folder / "test_negatives.tsv.gz").exists()
    negative = (triples("valid_negatives.tsv.gz"), triples("test_negatives.tsv.gz")) if has_negatives else None
    return KgData(name, graph, valid, test, negative)


def _rows(path: Path) -> Iterable[Sequence[str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [line.split("\t") for line in text.split("\n") if line]


Texts = tuple[dict[str, str], dict[str, str]]


def _umls(folder: Path) -> Texts:
    entities = {row[0]: f"{row[1]}: {row[2]}" for row in _rows(folder / "entity2text.tsv.gz")}
    return entities, {row[0]: row[1] for row in _rows(folder / "relation2text.tsv")}


def _codex(folder: Path) -> Texts:
    """Label, description, types, and the beginning of the Wikipedia article."""
    entities = {
        row[0]: f"{row[1]}: {row[2]}; {row[3].replace('|', ', ')}; {row[4]}"
        for row in _rows(folder / "entities.tsv.gz")
    }
    return entities, {row[0]: row[1] for row in _rows(folder / "relations.tsv")}


def _wordnet(folder: Path) -> Texts:
    entities = {row[0]: row[1].replace(", ", ": ", 1) for row in _rows(folder / "entity2text.tsv.gz")}
    return entities, {row[0]: row[1] for row in _rows(folder / "relation2text.tsv")}


_TEXTS: dict[str, Callable[[Path], Texts]] = {"umls": _umls, "codex_s": _codex, "wn18rr": _wordnet}
