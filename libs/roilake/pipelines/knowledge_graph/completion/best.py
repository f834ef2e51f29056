"""The best new tails of pairs, block by block: no matrix of entities by entities is ever held.

Legend: N entities, q pairs of a block, K tails, V validation queries, P known (pair, tail)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer
from roilake.pipelines.knowledge_graph.models import KnownTails
from roilake.topk import Best, Hidden, decode
from roilake.training.temperature import fit_temperature

CELLS = 4_000_000
"""Scores held at a time: of much more, fresh memory would cost as much as what is done with it."""
_ROWS = 8
_QUERIES = 500


@dataclass(frozen=True)
class Block:
    """``tail_qK`` in order of ``score_qK``, then of the entity; -1 where fewer than K are new."""

    score_qK: NDArray[np.float32]
    tail_qK: NDArray[np.int64]
    probability_qK: NDArray[np.float32]


@dataclass(frozen=True)
class Rules:
    """``known`` tails are none that are new. ``named`` maps a relation to the entities that may be its tails [n]; None:
    all. ``temperature`` T makes probabilities of scores."""

    top: int
    temperature: float
    known: KnownTails
    named: Mapping[int, Tensor] | None = None


def best_new(scorer: Scorer, pair_q2: Tensor, rules: Rules) -> Block:
    """Of each (head, relation) the ``top`` entities that may be its tails, are no known one and not the head, with

        p_t = exp(s_t / T) / sum over all such entities of exp(s / T)

    Raises MetricError for a score that is no number."""
    score_qN = scorer.all_scores(*pair_q2.unbind(1)).float().cpu().contiguous()
    if rules.named is not None:
        score_qN = _among(score_qN, pair_q2[:, 1], rules.named)
    top, temperature, known = rules.top, rules.temperature, rules.known
    best = Best(_hidden(pair_q2, known), top)
    best.add(score_qN, 0)  # sets what is hidden to -inf
    score_qK, tail_qK = decode(np.sort(best.keys(), axis=1)[:, ::-1])
    first_q1 = np.where(np.isneginf(score_qK[:, :1]), np.float32(0), score_qK[:, :1])  # -inf: nothing is new
    total_q1 = _exponentials(score_qN, torch.from_numpy(first_q1), temperature).clamp(min=1).numpy()
    return Block(score_qK, tail_qK, np.exp((score_qK - first_q1) / np.float32(temperature)) / total_q1)


def _exponentials(score_qN: Tensor, first_q1: Tensor, temperature: float) -> Tensor:
    """Sums of exp((s - first) / T) [q, 1]; the scores are overwritten, some rows at a time, while they are in cache."""

    def total(part_qN: Tensor, own_q1: Tensor) -> Tensor:
        # What is below e^-80 adds nothing to a sum of 1 and more, but exp is ten times as slow there
        return part_qN.sub_(own_q1).div_(temperature).clamp_(min=-80).exp_().sum(1, keepdim=True)

    parts = zip(score_qN.split(_ROWS), first_q1.split(_ROWS), strict=True)
    return torch.cat([total(*part) for part in parts])


def _among(score_qN: Tensor, relation_q: Tensor, named: Mapping[int, Tensor]) -> Tensor:
    """-inf for all entities but those that may be tails of the pair's relation."""
    found_qN = torch.full_like(score_qN, -torch.inf)
    for relation in relation_q.unique().tolist():
        rows_p1, tail_n = (relation_q == relation).nonzero(), named[relation]
        found_qN[rows_p1, tail_n] = score_qN[rows_p1, tail_n]
    return found_qN


def _hidden(pair_q2: Tensor, known: KnownTails) -> Hidden:
    """What may not be named of each pair: known tails, and the head."""
    row_P, tail_P = known.pairs(*pair_q2.unbind(1))
    rows = torch.cat([row_P, torch.arange(len(pair_q2))]).numpy()
    tails = torch.cat([tail_P, pair_q2[:, 0]]).numpy()
    order = np.lexsort((tails, rows))
    first_q1 = np.searchsorted(rows[order], np.arange(len(pair_q2) + 1))
    return Hidden(first_q1, tails[order].astype(np.int32))


def validated_temperature(scorer: Scorer, query_V3: Tensor, known: KnownTails, entities: int) -> float:
    """The temperature at which the right tails of validation queries, among all entities but the other known ones, are
    likeliest. Of the queries some are taken, evenly."""
    most = max(1, min(_QUERIES, 4 * CELLS // max(1, entities)))
    chosen_V3 = query_V3[torch.linspace(0, len(query_V3) - 1, min(most, len(query_V3))).long()]
    score_VN = scorer.all_scores(*chosen_V3.unbind(1)[:2]).float().cpu()
    row_P, tail_P = known.pairs(*chosen_V3.unbind(1)[:2])
    other_P = tail_P != chosen_V3[row_P, 2]
    score_VN[row_P[other_P], tail_P[other_P]] = -torch.inf
    return fit_temperature(score_VN, chosen_V3[:, 2])
