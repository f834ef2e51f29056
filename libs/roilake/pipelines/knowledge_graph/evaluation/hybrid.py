"""Scores of a model of texts and of one of triples, added.

Legend of shape suffixes: N entities, q queries."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer, best_variant
from roilake.pipelines.knowledge_graph.models.batch import KnownTails

_ROWS = 8
"""Queries whose scores stay in cache while they are added."""
WEIGHTS = tuple(step / 20 for step in range(21))


class Hybrid:
    """s = w z(s_text) + (1 - w) z(s_structure), z(s) = (s - mean) / deviation over the entities of a query."""

    def __init__(self, text: Scorer, structure: Scorer, weight: float) -> None:
        self._text, self._structure, self._weight = text, structure, weight

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        """[q, N]."""
        text_qN, structure_qN = (each.all_scores(head_q, relation_q) for each in (self._text, self._structure))
        for text, structure in zip(text_qN.split(_ROWS), structure_qN.split(_ROWS), strict=True):
            standardise(text, self._weight).add_(standardise(structure, 1 - self._weight))
        return text_qN


def standardise(score_qN: Tensor, deviation: float = 1.0) -> Tensor:
    """Mean 0 and this deviation over entities, in place; 0 where all score the same."""
    score_qN -= score_qN.mean(dim=1, keepdim=True)
    # A tenth of the time of torch.std
    had_q1 = torch.linalg.vector_norm(score_qN, dim=1, keepdim=True) / max(1, score_qN.shape[1] - 1) ** 0.5
    return score_qN.mul_(torch.where(had_q1 > 0, deviation / had_q1, 0.0))


def choose_weight(text: Scorer, structure: Scorer, query_Q3: Tensor, known: KnownTails, entities: int) -> float:
    """The weight with the best MRR on queries of validation; of equal ones the first. Both score each query once."""

    def variants(part_q3: Tensor) -> Iterator[tuple[float, Tensor]]:
        head_q, relation_q, _ = part_q3.unbind(1)
        one, other = (standardise(each.all_scores(head_q, relation_q)) for each in (text, structure))
        return ((weight, torch.lerp(other, one, weight)) for weight in WEIGHTS)

    return best_variant(variants, query_Q3, known, entities)
