"""What Spark's tasks do: embed a range of entities, complete a range of pairs. All that they need lies in one folder
that every task sees; a process opens it once.

Legend: N entities, Q pairs, D width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from torch import Tensor

from roilake.lake.tables import Table
from roilake.pipelines.knowledge_graph.completion.best import CELLS, Block, best_new
from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer
from roilake.pipelines.knowledge_graph.evaluation.saved import BLOCK, OpenModel, SavedModel
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, KnownTails
from roilake.pipelines.knowledge_graph.tables import COMPLETED_EDGES, ENTITIES
from roilake.pipelines.knowledge_graph.training.inputs import Facts, KgInputs
from roilake.training.context import threads

_MOST_PAIRS = 256
_ENTITIES, _RELATIONS, _VECTORS, _PAIRS, _KNOWN = "rows.arrow", "keys.arrow", "vectors.npy", "pairs.npy", "known"


def lay_out(folder: Path, facts: Facts, entities: pa.Table) -> None:
    """Write what ``opened`` reads: the graph, and ``entities`` (rows of that table but for vector and model)."""
    KgInputs(facts.graph, facts.triples["validation"]).save(folder)
    feather.write_feather(entities, str(folder / _ENTITIES))
    feather.write_feather(facts.relations, str(folder / _RELATIONS))


@cache
def _graph(folder: Path) -> KnowledgeGraph:
    return KgInputs.open(folder).graph


@cache
def _model(folder: Path, model: SavedModel) -> OpenModel:
    return model.open(_graph(folder))


@dataclass(frozen=True)
class Embedding:
    """Rows of ``entities`` by ranges of ``BLOCK`` entities, each of a task's rows the number of one."""

    folder: Path
    model: SavedModel
    ds: date

    def __call__(self, tasks: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        entities, model = feather.read_table(str(self.folder / _ENTITIES)), _model(self.folder, self.model)
        for task in tasks["id"].to_pylist():
            rows = entities.slice(task * BLOCK, BLOCK)
            with threads(1):
                vector_nD = model.vectors(task * BLOCK, task * BLOCK + rows.num_rows)
            yield "entities", self._rows(rows, vector_nD)

    def _rows(self, rows: pa.Table, vector_nD: Tensor) -> pa.Table:
        ends = pa.array(np.arange(0, vector_nD.numel() + 1, vector_nD.shape[1], dtype=np.int32))
        vectors = pa.ListArray.from_arrays(ends, pa.array(vector_nD.numpy().ravel()))
        columns = {"vector": vectors, "ds": _same(self.ds, rows.num_rows), "model": _served(self, rows.num_rows)}
        return _rows_of(ENTITIES, {**{name: rows[name] for name in rows.column_names}, **columns})


@dataclass(frozen=True)
class Completion:
    """Rows of ``completed_edges`` by blocks of pairs, each of a task's rows the number of one."""

    folder: Path
    model: SavedModel
    ds: date
    top: int
    temperature: float

    def __call__(self, tasks: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        pair_Q2 = np.load(self.folder / _PAIRS, mmap_mode="r")
        scorer, known = _scorer(self.folder, self.model), _known(self.folder)
        size = pairs_at_once(_graph(self.folder).entities)
        for task in tasks["id"].to_pylist():
            pair_q2 = torch.from_numpy(np.array(pair_Q2[task * size : (task + 1) * size]))
            with threads(1):
                found = best_new(scorer, pair_q2, known, self.top, self.temperature)
            yield "completed_edges", self._rows(pair_q2, found)

    def _rows(self, pair_q2: Tensor, found: Block) -> pa.Table:
        row_X, rank_X = np.nonzero(found.tail_qK >= 0)
        relations = feather.read_table(str(self.folder / _RELATIONS))["key"].combine_chunks()
        keys = feather.read_table(str(self.folder / _ENTITIES))["key"].combine_chunks()
        asked_X, relation_X = (part[row_X].numpy() for part in pair_q2.unbind(1))
        inverse_X = relation_X >= len(relations)
        tail_X = found.tail_qK[row_X, rank_X]
        columns = {
            "head": keys.take(pa.array(np.where(inverse_X, tail_X, asked_X))),
            "relation": relations.take(pa.array(relation_X % len(relations))),
            "tail": keys.take(pa.array(np.where(inverse_X, asked_X, tail_X))),
            "sought": pa.array(np.where(inverse_X, "head", "tail")),
            "rank": pa.array(rank_X + 1),
            "score": pa.array(found.score_qK[row_X, rank_X]),
            "probability": pa.array(found.probability_qK[row_X, rank_X]),
            "ds": _same(self.ds, len(row_X)),
            "model": _served(self, len(row_X)),
        }
        return _rows_of(COMPLETED_EDGES, columns)


def pairs_at_once(entities: int) -> int:
    """How many pairs are scored at a time: their scores are bounded."""
    return max(1, min(_MOST_PAIRS, CELLS // max(1, entities)))


@cache
def _scorer(folder: Path, model: SavedModel) -> Scorer:
    return _model(folder, model).scorer(torch.from_numpy(np.load(folder / _VECTORS, mmap_mode="r+")))


@cache
def _known(folder: Path) -> KnownTails:
    keys, starts, tails = (torch.from_numpy(np.load(folder / f"{_KNOWN}_{part}.npy")) for part in range(3))
    return KnownTails(2 * _graph(folder).relations, keys, starts, tails)


def lay_out_pairs(folder: Path, pair_Q2: Tensor, known: KnownTails, vector_ND: Tensor) -> None:
    """Write what is asked for, what is known, and the vectors, beside what ``lay_out`` wrote."""
    np.save(folder / _PAIRS, pair_Q2.numpy())
    np.save(folder / _VECTORS, vector_ND.numpy())
    for part, each in enumerate((known.key_K, known.start_K1, known.tail_E)):
        np.save(folder / f"{_KNOWN}_{part}.npy", each.numpy())


def _same(value: object, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)


def _served(task: Embedding | Completion, rows: int) -> pa.Array:
    return _same(f"{task.model.name}@{task.ds}", rows)


def _rows_of(table: Table, columns: dict[str, pa.Array]) -> pa.Table:
    schema = table.arrow_schema
    return pa.table({each: columns[each] for each in schema.names}).cast(schema)
