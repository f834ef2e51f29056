"""What a model of a knowledge graph sees.

Legend of shape suffixes: N entities, R relations, E triples of training, Q queries of a step over all ranks, P pairs of
a query and a known tail of it, K distinct (head, relation)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from roilake.training import Context


@dataclass(frozen=True)
class KnowledgeGraph:
    """Entities 0..N-1 and relations 0..R-1 with their texts, and the triples of training.

    A query is (head, relation); its answers are tails. Relation r + R is the inverse of r, so that the heads of
    (r, tail) are the answers of (tail, r + R)."""

    entity_text: tuple[str, ...]  # "name: description" (empty: no text)
    relation_text: tuple[str, ...]
    train_E3: Tensor  # int64 (head, relation, tail), no doubles

    @property
    def entities(self) -> int:
        """N."""
        return len(self.entity_text)

    @property
    def relations(self) -> int:
        """R; queries have 2 R."""
        return len(self.relation_text)

    @cached_property
    def known(self) -> KnownTails:
        """The tails of training, both ways."""
        return KnownTails.of(both_ways(self.train_E3, self.relations), 2 * self.relations)


def both_ways(triple_E3: Tensor, relations: int) -> Tensor:
    """The triples, and behind them their inverses [2 E, 3]."""
    head_E, relation_E, tail_E = triple_E3.unbind(1)
    return torch.cat([triple_E3, torch.stack([tail_E, relation_E + relations, head_E], dim=1)])


@dataclass(frozen=True)
class KnownTails:
    """The tails that are known of each (head, relation)."""

    relations: int  # of queries
    key_K: Tensor  # int64 head * relations + relation, ascending
    start_K1: Tensor  # int64: the tails of key k are those from start[k] to start[k + 1]
    tail_E: Tensor  # int64, ascending within a key

    @classmethod
    def of(cls, triple_E3: Tensor, relations: int) -> KnownTails:
        """Those of triples; doubles count once."""
        head_E, relation_E, tail_E = triple_E3.unique(dim=0).unbind(1)
        key_K, count_K = (head_E * relations + relation_E).unique_consecutive(return_counts=True)
        return cls(relations, key_K, torch.cat([count_K.new_zeros(1), count_K.cumsum(0)]), tail_E)

    def pairs(self, head_Q: Tensor, relation_Q: Tensor) -> tuple[Tensor, Tensor]:
        """Each query with each of its known tails: number of the query, and tail, both int64 [P]."""
        key_Q = head_Q * self.relations + relation_Q
        place_Q = torch.searchsorted(self.key_K, key_Q).clamp(max=max(0, len(self.key_K) - 1))
        found_Q = self.key_K[place_Q] == key_Q if len(self.key_K) else torch.zeros_like(key_Q, dtype=torch.bool)
        row_F = found_Q.nonzero()[:, 0]
        start_F, count_F = self.start_K1[place_Q[row_F]], self.start_K1.diff()[place_Q[row_F]]
        row_P = row_F.repeat_interleave(count_F)
        first_F = count_F.cumsum(0) - count_F
        offset_P = torch.arange(len(row_P), device=row_P.device) - first_F.repeat_interleave(count_F)
        return row_P, self.tail_E[start_F.repeat_interleave(count_F) + offset_P]


@dataclass(frozen=True)
class TripleBatch:
    """The queries of a step over all ranks with their answers, the same on every rank; those from ``first`` to
    ``last`` are this rank's. A triple is there both ways. Tensors lie on the rank's device."""

    head_Q: Tensor
    relation_Q: Tensor
    tail_Q: Tensor
    known_2P: Tensor  # each query with each tail that training knows of it
    first: int
    last: int
    step: int
    context: Context

    @property
    def own(self) -> slice:
        """This rank's queries."""
        return slice(self.first, self.last)
