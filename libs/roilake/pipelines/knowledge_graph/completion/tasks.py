"""What Spark's tasks do: embed a range of entities, complete a range of pairs. All that they need lies in one folder
that every task sees and no other run has; a process opens it once.

Legend: N entities, n of them, Q pairs, q of them, X rows, D width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from roilake.lake.tables import Table
from roilake.pipelines.knowledge_graph.completion.best import CELLS, Block, Rules, best_new
from roilake.pipelines.knowledge_graph.evaluation.ranking import BLOCK, Scorer
from roilake.pipelines.knowledge_graph.evaluation.saved import Opened, SavedModel
from roilake.pipelines.knowledge_graph.models import both_ways
from roilake.pipelines.knowledge_graph.tables import COMPLETED_EDGES, ENTITIES
from roilake.pipelines.knowledge_graph.training.inputs import SPLITS, Facts
from roilake.training.context import threads

_MOST_PAIRS = 256
_PAIRS, _VECTORS = "pairs.npy", "vectors.npy"


@lru_cache(maxsize=1)
def _facts(folder: Path) -> Facts:
    return Facts.open(folder)


@lru_cache(maxsize=1)
def _model(folder: Path, model: SavedModel) -> Opened:
    return model.open(_facts(folder).graph)


@dataclass(frozen=True)
class Embedding:
    """Rows of ``entities``, by blocks of ``BLOCK`` of them, each of a task's rows the number of one. ``folder`` has the
    night's ``Facts``."""

    folder: Path
    model: SavedModel
    ds: date

    def __call__(self, tasks: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        facts, model = _facts(self.folder), _model(self.folder, self.model)
        entities = facts.entities.append_column("triples", pa.array(facts.triples_N))
        for task in tasks["id"].to_pylist():
            rows = entities.slice(task * BLOCK, BLOCK)
            with threads(1):
                vector_nD = model.vectors(task * BLOCK, task * BLOCK + rows.num_rows)
            yield "entities", self._rows(rows, vector_nD)

    def _rows(self, rows: pa.Table, vector_nD: Tensor) -> pa.Table:
        ends = pa.array(np.arange(0, vector_nD.numel() + 1, vector_nD.shape[1], dtype=np.int32))
        vectors = pa.ListArray.from_arrays(ends, pa.array(vector_nD.numpy().ravel()))
        own = {name: rows[name] for name in ("entity", "key", "text", "items", "triples")}
        return _rows_of(ENTITIES, {**own, "vector": vectors}, self)


@dataclass(frozen=True)
class Completion:
    """Rows of ``completed_edges``, by blocks of ``pairs_at_once`` pairs, each of a task's rows the number of one.
    ``folder`` has the night's ``Facts`` and what ``lay_out_pairs`` wrote; all entities may be named, or
    with ``seen`` those that are a known tail of the relation."""

    folder: Path
    model: SavedModel
    ds: date
    top: int
    temperature: float
    seen: bool

    def __call__(self, tasks: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        pair_Q2, facts = np.load(self.folder / _PAIRS, mmap_mode="r"), _facts(self.folder)
        scorer, rules, size = (
            _scorer(self.folder, self.model),
            self._rules(facts),
            pairs_at_once(facts.entities.num_rows),
        )
        for task in tasks["id"].to_pylist():
            pair_q2 = torch.from_numpy(np.array(pair_Q2[task * size : (task + 1) * size]))
            with threads(1):
                found = best_new(scorer, pair_q2, rules)
            yield "completed_edges", self._rows(pair_q2, found, facts)

    def _rules(self, facts: Facts) -> Rules:
        named = known_tails(facts) if self.seen else None
        return Rules(self.top, self.temperature, facts.known(*SPLITS), named)

    def _rows(self, pair_q2: Tensor, found: Block, facts: Facts) -> pa.Table:
        row_X, rank_X = np.nonzero(found.tail_qK >= 0)
        relations, keys = (table["key"].combine_chunks() for table in (facts.relations, facts.entities))
        asked_X, relation_X = (part[row_X].numpy() for part in pair_q2.unbind(1))
        inverse_X, tail_X = relation_X >= len(relations), found.tail_qK[row_X, rank_X]
        columns = {
            "head": keys.take(pa.array(np.where(inverse_X, tail_X, asked_X))),
            "relation": relations.take(pa.array(relation_X % len(relations))),
            "tail": keys.take(pa.array(np.where(inverse_X, asked_X, tail_X))),
            "sought": pa.array(np.where(inverse_X, "head", "tail")),
            "rank": pa.array(rank_X + 1),
            "score": pa.array(found.score_qK[row_X, rank_X]),
            "probability": pa.array(found.probability_qK[row_X, rank_X]),
        }
        return _rows_of(COMPLETED_EDGES, columns, self)


def pairs_at_once(entities: int) -> int:
    """How many pairs are scored at a time: their scores are bounded."""
    return max(1, min(_MOST_PAIRS, CELLS // max(1, entities)))


def known_tails(facts: Facts) -> dict[int, Tensor]:
    """By relation, both ways, the entities that are a known tail of it [n]."""
    relations = facts.relations.num_rows
    triple_E3 = both_ways(torch.cat([facts.triples[name] for name in SPLITS]), relations)
    pair_P2 = triple_E3[:, 1:].unique(dim=0)
    return {relation: pair_P2[pair_P2[:, 0] == relation, 1] for relation in range(2 * relations)}


@lru_cache(maxsize=1)
def _scorer(folder: Path, model: SavedModel) -> Scorer:
    return _model(folder, model).scorer(torch.from_numpy(np.load(folder / _VECTORS, mmap_mode="c")))


def lay_out(folder: Path, facts: Facts) -> Path:
    """A folder in ``folder`` that no earlier run has had, with the night's facts."""
    own = folder / uuid4().hex
    own.mkdir()
    facts.save(own)
    return own


def lay_out_pairs(folder: Path, pair_Q2: Tensor, vector_ND: Tensor) -> None:
    """Write what is asked for, and the vectors, beside the night's facts."""
    np.save(folder / _PAIRS, pair_Q2.numpy())
    np.save(folder / _VECTORS, vector_ND.numpy())


def _rows_of(table: Table, columns: dict[str, pa.Array], task: Embedding | Completion) -> pa.Table:
    schema, rows = table.arrow_schema, len(next(iter(columns.values())))
    same = {"ds": task.ds, "model": f"{task.model.name}@{task.ds}"}
    every = {**columns, **{name: pa.repeat(pa.scalar(value), rows) for name, value in same.items()}}
    return pa.table({name: every[name] for name in schema.names}).cast(schema)
