"""What models that know entities by their triples alone have in common.

Legend of shape suffixes: N entities, R relations, Q queries, q distinct ones, C candidates, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph, TripleBatch
from roilake.training import Term
from roilake.training.dropout import Dropout
from roilake.training.models import Options

Width = Annotated[int, Field(ge=2, multiple_of=2)]
Part = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Ask = Callable[[Tensor, Tensor], Tensor]
"""Scores of (head, relation)."""
_ROWS = 4
"""Queries whose scores stay in cache while they are changed."""


class StructuralOptions(Options):
    """``candidates``: the tail is told from so many entities, drawn anew in each step; None: from all of them."""

    width: Width = 256
    dropout: Part = 0.1
    candidates: Count | None = None


class StructuralModel(nn.Module):
    """L = mean over queries of -log softmax_c(s(q, c))_tail, with q = query(head, relation), over all entities c, or
    over some drawn evenly, which then count N / C each. Relations and inverse relations have parameters of their own.

    Source of this training for old models: Ruffinelli et al., "You CAN teach an old dog new tricks!" (2020).

    Shapes: q [Q, D], entities [N, D], relations [2 R, .]."""

    def __init__(self, options: StructuralOptions, graph: KnowledgeGraph, relation_width: int) -> None:
        super().__init__()
        self.options = options
        self.entity = nn.Embedding(graph.entities, options.width)
        self.relation = nn.Embedding(2 * graph.relations, relation_width)
        self.dropout = Dropout(options.dropout)
        nn.init.normal_(self.entity.weight, std=0.1)
        nn.init.normal_(self.relation.weight, std=0.1)

    def compose(self, head_QD: Tensor, relation_QD: Tensor) -> Tensor:
        """Queries of vectors [Q, D]."""
        raise NotImplementedError

    def scores(self, query_QD: Tensor, entity_nD: Tensor) -> Tensor:
        """[Q, n]."""
        raise NotImplementedError

    def queries(self, head_Q: Tensor, relation_Q: Tensor) -> Tensor:
        """[Q, D]."""
        return self.compose(self.entity(head_Q), self.relation(relation_Q))

    def asking(self, entity_ND: Tensor) -> Ask:
        """Scores of these entities for as long as the weights stay."""
        return lambda head_Q, relation_Q: self.scores(self.queries(head_Q, relation_Q).float(), entity_ND)

    def entities(self, first: int, last: int) -> Tensor:
        """[last - first, D]."""
        return self.entity.weight[first:last]

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, and how fast they learn beside the others."""
        return [(list(self.parameters()), 1.0)]

    def losses(self, batch: TripleBatch) -> dict[str, Term]:
        """``cross_entropy`` of this rank's queries; one that is there twice is scored once."""
        head_Q, relation_Q, tail_Q = (each[batch.own] for each in (batch.head_Q, batch.relation_Q, batch.tail_Q))
        relations = len(self.relation.weight)
        distinct_q, index_Q = (head_Q * relations + relation_Q).unique(return_inverse=True)
        head_qD, relation_qD = self.entity(distinct_q // relations), self.relation(distinct_q % relations)
        query_qD = self.compose(self.dropout(head_qD), self.dropout(relation_qD))
        total = self._cross_entropy(query_qD, index_Q, tail_Q, batch.step)
        return {"cross_entropy": Term(total, total.detach().new_tensor(float(len(tail_Q))))}

    def vectors(self, batch: TripleBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of heads, relations and tails of this rank's queries."""
        own = batch.own
        return self.entity(batch.head_Q[own]), self.relation(batch.relation_Q[own]), self.entity(batch.tail_Q[own])

    def _cross_entropy(self, query_qD: Tensor, index_Q: Tensor, tail_Q: Tensor, step: int) -> Tensor:
        entity_ND = self.entity.weight
        if self.options.candidates is None:
            logit_qN = self.scores(query_qD, self.dropout(entity_ND)).float()
            return (logit_qN.logsumexp(dim=1)[index_Q] - logit_qN[index_Q, tail_Q]).sum()
        query_QD = query_qD[index_Q]
        draw = torch.Generator().manual_seed(step)
        drawn_C = torch.randint(len(entity_ND), (self.options.candidates,), generator=draw).to(tail_Q.device)
        each = torch.log(query_QD.new_tensor(len(entity_ND) / len(drawn_C)))
        logit_QC = self.scores(query_QD, self.dropout(self.entity(drawn_C))).float() + each
        logit_QC = logit_QC.masked_fill(drawn_C == tail_Q[:, None], -torch.inf)
        own_Q1 = self.own_scores(query_QD, self.dropout(self.entity(tail_Q)))[:, None]
        gold_Q = torch.zeros_like(tail_Q)
        return F.cross_entropy(torch.cat([own_Q1.float(), logit_QC], dim=1), gold_Q, reduction="sum")

    def own_scores(self, query_QD: Tensor, entity_QD: Tensor) -> Tensor:
        """Of each query with its own entity [Q]."""
        raise NotImplementedError


class DotModel(StructuralModel):
    """s(q, c) = q . c."""

    def scores(self, query_QD: Tensor, entity_nD: Tensor) -> Tensor:
        return query_QD @ entity_nD.t()

    def own_scores(self, query_QD: Tensor, entity_QD: Tensor) -> Tensor:
        return (query_QD * entity_QD).sum(dim=1)


class DistanceModel(StructuralModel):
    """s(q, c) = -a |q - c|, a > 0 learned, 1 at first."""

    def __init__(self, options: StructuralOptions, graph: KnowledgeGraph, relation_width: int) -> None:
        super().__init__(options, graph, relation_width)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def asking(self, entity_ND: Tensor) -> Ask:
        square_N = _squared(entity_ND)
        return lambda head_Q, relation_Q: self.scores(self.queries(head_Q, relation_Q).float(), entity_ND, square_N)

    def scores(self, query_QD: Tensor, entity_nD: Tensor, entity_n: Tensor | None = None) -> Tensor:
        """``entity_n``: the entities' squared lengths, if they are there."""
        # As a product of matrices, some ten times as fast as the differences; in float32, for it cancels
        with torch.autocast(query_QD.device.type, enabled=False):
            query_QD, entity_nD = query_QD.float(), entity_nD.float()
            query_Q, entity_n = _squared(query_QD), _squared(entity_nD) if entity_n is None else entity_n
            squares = torch.addmm(entity_n, query_QD, entity_nD.t(), alpha=-2)
            scale = -self.log_scale.exp()
            if torch.is_grad_enabled():
                return _root(squares, query_Q) * scale
            for part, own_q in zip(squares.split(_ROWS), query_Q.split(_ROWS), strict=True):
                _root(part, own_q).mul_(scale)
            return squares

    def own_scores(self, query_QD: Tensor, entity_QD: Tensor) -> Tensor:
        squares = (query_QD.float() - entity_QD.float()).square().sum(dim=1)
        return -self.log_scale.exp() * squares.clamp(min=1e-6).sqrt()


def _squared(vector_nD: Tensor) -> Tensor:
    """Squared lengths [n]; fresh memory, for the squares of all coordinates, would cost as much as a product does."""
    return torch.linalg.vector_norm(vector_nD, dim=1).square()


def _root(square_qn: Tensor, query_q: Tensor) -> Tensor:
    """(squares + query)^(1/2), in place."""
    return square_qn.add_(query_q[:, None]).clamp_(min=1e-6).sqrt_()
