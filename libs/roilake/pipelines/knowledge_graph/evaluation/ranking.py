"""Filtered ranks of the answers of queries, by blocks of queries.

Legend of shape suffixes: N entities, n of them, Q queries, q of them, D width, E triples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.models.batch import KnownTails

K = TypeVar("K")
HITS = (1, 3, 10)
BONUSES, HOPS = (0.02, 0.05, 0.1, 0.2), (1, 2, 3, 5)
"""Of the re-ranking by the graph; the paper has 0.05, and 2 or 5 hops."""
_CELLS = 16_000_000  # scores held at a time
BLOCK = 1024
"""Entities that are embedded at a time, everywhere alike, so that they have the same bits."""


@dataclass(frozen=True)
class Ranks:
    """Where each answer stands: so many candidates score better, and so many the same, itself among them. A tie counts
    as the mean over all orders of those that tie."""

    better_Q: Tensor  # int64
    tied_Q: Tensor  # int64, 1 or more

    @property
    def mean_Q(self) -> Tensor:
        """The mean rank, float64."""
        return self.better_Q + (self.tied_Q + 1) / 2.0

    @property
    def reciprocal_Q(self) -> Tensor:
        """The mean of 1 / rank, float64."""
        harmonic_Q = [torch.special.digamma(each_Q.double() + 1) for each_Q in (self.better_Q, self._last_Q)]
        return (harmonic_Q[1] - harmonic_Q[0]) / self.tied_Q

    def hits_Q(self, first: int) -> Tensor:
        """How probable it is that the answer is among the ``first``, float64."""
        return (first - self.better_Q).clamp(min=0).minimum(self.tied_Q).double() / self.tied_Q

    @property
    def _last_Q(self) -> Tensor:
        return self.better_Q + self.tied_Q

    def measured(self) -> dict[str, float]:
        """Means over queries: ``mrr`` and ``hits@K``."""
        hits = {f"hits@{first}": float(self.hits_Q(first).mean()) for first in HITS}
        return {"mrr": float(self.reciprocal_Q.mean()), **hits}


class Scorer(Protocol):
    """Gives queries the scores of all entities."""

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        """[q, N]; higher is better. They are made anew for who asks, who may change them."""


class ModelScores:
    """The scores of a model as it is now, without dropout; vectors of entities are made once, or given."""

    def __init__(self, model: Any, entities: int, entity_ND: Tensor | None = None) -> None:
        self._model = model
        self._entity_ND = entity_vectors(model, 0, entities) if entity_ND is None else entity_ND
        with evaluating(model):
            self._ask = model.asking(self._entity_ND)

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        device = self._entity_ND.device
        with evaluating(self._model):
            scores: Tensor = self._ask(head_q.to(device), relation_q.to(device))
        return scores


def entity_vectors(model: Any, first: int, last: int) -> Tensor:
    """Of the entities from ``first`` to ``last`` [n, D] float32, ``BLOCK`` at a time, without dropout."""
    with evaluating(model):
        blocks = range(first, last, BLOCK)
        return torch.cat([model.entities(start, min(start + BLOCK, last)).float() for start in blocks])


class evaluating:  # noqa: N801 - read as a word: with evaluating(model)
    """A model without dropout and without gradients for a while."""

    def __init__(self, model: Any) -> None:
        self._model, self._no_gradients = model, torch.no_grad()

    def __enter__(self) -> None:
        self._before = self._model.training
        self._model.eval()
        self._no_gradients.__enter__()

    def __exit__(self, *_: object) -> None:
        self._no_gradients.__exit__(None, None, None)
        self._model.train(self._before)


@dataclass(frozen=True)
class NearBonus:
    """``scores`` and ``bonus`` for every entity within ``hops`` hops of the head in the graph of training, to either
    side (see ``adjacency``). The head itself is within.

    Source: Wang et al. 2022 (SimKGC, arXiv 2203.02167), section 3.5; applied before the filter."""

    scores: Scorer
    graph: Tensor
    bonus: float
    hops: int

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        score_qN = self.scores.all_scores(head_q, relation_q)
        if not self.bonus:
            return score_qN
        return score_qN.add_(within(self.graph, head_q, self.hops), alpha=self.bonus)


def choose_bonus(scores: Scorer, graph: Tensor, query_Q3: Tensor, known: KnownTails, entities: int) -> NearBonus:
    """The bonus (``BONUSES``) within so many hops (``HOPS``) with the best MRR on queries of validation; 0 if none is
    better."""

    def variants(part_q3: Tensor) -> Iterator[tuple[tuple[float, int], Tensor]]:
        head_q, relation_q, _ = part_q3.unbind(1)
        score_qN = scores.all_scores(head_q, relation_q)
        yield (0.0, 1), score_qN
        for hops in HOPS:
            near_qN = within(graph, head_q, hops)
            yield from (((bonus, hops), score_qN + bonus * near_qN) for bonus in BONUSES)

    return NearBonus(scores, graph, *best_variant(variants, query_Q3, known, entities))


def adjacency(triple_E3: Tensor, entities: int) -> Tensor:
    """A + I of the entities that a triple joins, to either side: a sparse matrix [N, N]."""
    head_E, _, tail_E = triple_E3.unbind(1)
    itself_N = torch.arange(entities, device=triple_E3.device)
    cells = torch.stack([torch.cat([head_E, tail_E, itself_N]), torch.cat([tail_E, head_E, itself_N])])
    ones = torch.ones(cells.shape[1], device=triple_E3.device)
    return torch.sparse_coo_tensor(cells, ones, (entities, entities)).coalesce().to_sparse_csr()


def within(graph: Tensor, head_q: Tensor, hops: int) -> Tensor:
    """Which entities are at most ``hops`` hops from each head: 1 or 0 [q, N]."""
    distinct_n, index_q = head_q.to(graph.device).unique(return_inverse=True)
    reached_Nn = torch.zeros(graph.shape[0], len(distinct_n), device=graph.device)
    reached_Nn[distinct_n, torch.arange(len(distinct_n), device=graph.device)] = 1.0
    for _ in range(hops):
        reached_Nn = (graph @ reached_Nn).clamp_(max=1)
    return reached_Nn.t()[index_q]


def filtered_ranks(scores: Scorer, query_Q3: Tensor, known: KnownTails, entities: int) -> Ranks:
    """The rank of the tail of each (head, relation, tail) among all entities but the other known tails of its query."""
    found = [
        rank_block(scores.all_scores(*part_q3.unbind(1)[:2]), part_q3, known)
        for part_q3 in query_blocks(query_Q3, entities)
    ]
    better, tied = zip(*found, strict=True)
    return Ranks(torch.cat(better), torch.cat(tied))


def best_variant(
    variants: Callable[[Tensor], Iterable[tuple[K, Tensor]]], query_Q3: Tensor, known: KnownTails, entities: int
) -> K:
    """The key of the variant with the best MRR, of equal ones the first: of a block of queries, ``variants`` gives the
    scores of each, [q, N]."""
    found: dict[K, list[Tensor]] = {}
    for part_q3 in query_blocks(query_Q3, entities):
        for key, score_qN in variants(part_q3):
            found.setdefault(key, []).append(Ranks(*rank_block(score_qN, part_q3, known)).reciprocal_Q)
    return max(found, key=lambda key: float(torch.cat(found[key]).mean()))


def query_blocks(query_Q3: Tensor, entities: int) -> Iterator[Tensor]:
    """Queries in blocks whose scores fit into memory."""
    return iter(query_Q3.split(max(1, _CELLS // max(1, entities))))


def rank_block(score_qN: Tensor, query_q3: Tensor, known: KnownTails) -> tuple[Tensor, Tensor]:
    """How many score better than the tail, and how many the same. What is no number scores least of all."""
    device = score_qN.device
    score_qN = torch.nan_to_num(score_qN, nan=-torch.inf)
    gold_q1 = query_q3[:, 2:].to(device)
    own_q1 = score_qN.gather(1, gold_q1)
    row_P, tail_P = (each.to(device) for each in known.pairs(query_q3[:, 0], query_q3[:, 1]))
    other_P = tail_P != gold_q1[row_P, 0]
    better_q, tied_q = (score_qN > own_q1).sum(dim=1), (score_qN == own_q1).sum(dim=1)
    filtered_P = score_qN[row_P, tail_P]
    for count_q, is_P in ((better_q, filtered_P > own_q1[row_P, 0]), (tied_q, filtered_P == own_q1[row_P, 0])):
        count_q.index_add_(0, row_P, -(is_P & other_P).long())
    return better_q.cpu(), tied_q.cpu()


def measured_by_side(ranks: Ranks, query_Q3: Tensor, relations: int) -> dict[str, dict[str, float]]:
    """``Ranks.measured`` of the queries for tails, for heads, and of both."""
    heads_Q = query_Q3[:, 1] >= relations
    sides: Sequence[tuple[str, Tensor]] = (("tail", ~heads_Q), ("head", heads_Q), ("both", torch.ones_like(heads_Q)))
    return {side: Ranks(ranks.better_Q[of_Q], ranks.tied_Q[of_Q]).measured() for side, of_Q in sides}
