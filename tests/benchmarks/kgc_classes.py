"""Telling true triples from plausible false ones by a score.

Legend of shape suffixes: E triples, half of them false."""

from __future__ import annotations

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer, query_blocks
from tests.benchmarks.kgc_data import KgData


def classified(data: KgData, scores: Scorer) -> dict[str, float]:
    """``accuracy`` and ``f1`` on test. A triple is taken for true if its score is at least its relation's threshold,
    the one of most right answers on validation; a relation that validation lacks has that of all together.

    Source of the protocol: Safavi and Koutra, "CoDEx" (2020, arXiv 2009.07810)."""
    assert data.negative is not None
    valid, test = (
        _scored(data, scores, true, false)
        for true, false in zip((data.valid_E3, data.test_E3), data.negative, strict=True)
    )
    common = _threshold(valid[1], valid[2])
    chosen = torch.full((data.graph.relations,), common)
    for relation in valid[0].unique():
        of_E = valid[0] == relation
        chosen[relation] = _threshold(valid[1][of_E], valid[2][of_E])
    said_E, true_E = test[1] >= chosen[test[0]], test[2]
    hits, wrong = int((said_E & true_E).sum()), int((said_E != true_E).sum())
    return {"accuracy": 1 - wrong / len(true_E), "f1": 2 * hits / max(1, 2 * hits + wrong)}


def _scored(data: KgData, scores: Scorer, true_E3: Tensor, false_E3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Relation, score as a tail, and whether true, of each triple [E]."""
    triple_E3 = torch.cat([true_E3, false_E3])
    parts = [
        scores.all_scores(*part.unbind(1)[:2]).cpu().gather(1, part[:, 2:])[:, 0]
        for part in query_blocks(triple_E3, data.graph.entities)
    ]
    return triple_E3[:, 1], torch.cat(parts), torch.arange(len(triple_E3)) < len(true_E3)


def _threshold(score_E: Tensor, true_E: Tensor) -> float:
    """The least score that is taken for true where most are right; of equal ones the highest."""
    order_E = score_E.argsort(descending=True)
    sorted_E, right_E = score_E[order_E], torch.where(true_E[order_E], 1, -1).cumsum(0)
    ends_E = torch.cat([sorted_E[:-1] > sorted_E[1:], torch.ones(1, dtype=torch.bool)])
    best = int(torch.where(ends_E, right_E, right_E.min() - 1).argmax())
    return float(sorted_E[best]) if right_E[best] > 0 else float("inf")
