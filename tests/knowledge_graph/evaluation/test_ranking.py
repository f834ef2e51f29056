"""Filtered ranks: against a plain loop, ties, the bonus of the graph, and the sum of two models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from roilake.pipelines.knowledge_graph.evaluation import hybrid, ranking
from roilake.pipelines.knowledge_graph.evaluation.hybrid import Hybrid, choose_weight, standardise
from roilake.pipelines.knowledge_graph.evaluation.ranking import (
    NearBonus,
    Ranks,
    adjacency,
    choose_bonus,
    filtered_ranks,
    measured_by_side,
    within,
)
from roilake.pipelines.knowledge_graph.models import KnownTails, both_ways
from tests.knowledge_graph.small_kg import small_kg


@dataclass
class Fixed:
    """The same scores whatever is asked, by head."""

    score_HN: Tensor

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        return self.score_HN[head_q]


def known_of(triples: Tensor, relations: int) -> KnownTails:
    return KnownTails.of(both_ways(triples, relations), 2 * relations)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_ranks_are_those_of_a_plain_loop(seed: int) -> None:
    """Scores of few values, so that many tie; tails that training knows are passed over."""
    draw = torch.Generator().manual_seed(seed)
    entities, relations = 9, 2
    triples = torch.stack([torch.randint(high, (14,), generator=draw) for high in (entities, relations, entities)], 1)
    score = torch.randint(0, 4, (entities, entities), generator=draw).float()
    queries, truth = both_ways(triples, relations), {tuple(row) for row in both_ways(triples, relations).tolist()}
    ranks = filtered_ranks(Fixed(score), queries, known_of(triples, relations), entities)
    for row, (head, relation, tail) in enumerate(queries.tolist()):
        others = [e for e in range(entities) if e == tail or (head, relation, e) not in truth]
        better = sum(bool(score[head, e] > score[head, tail]) for e in others)
        tied = sum(bool(score[head, e] == score[head, tail]) for e in others)
        assert (int(ranks.better_Q[row]), int(ranks.tied_Q[row])) == (better, tied)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_kg()
    score = torch.randn(graph.entities, graph.entities)
    queries = both_ways(graph.train_E3, graph.relations)
    whole = filtered_ranks(Fixed(score), queries, graph.known, graph.entities)
    monkeypatch.setattr(ranking, "_CELLS", 5 * graph.entities)
    parts = filtered_ranks(Fixed(score), queries, graph.known, graph.entities)
    assert torch.equal(whole.better_Q, parts.better_Q) and torch.equal(whole.tied_Q, parts.tied_Q)


def test_a_model_that_scores_all_alike_has_the_mrr_of_a_random_order() -> None:
    entities = 40
    triples = torch.tensor([[0, 0, 1], [2, 0, 3]])
    ranks = filtered_ranks(Fixed(torch.zeros(entities, entities)), triples, known_of(triples, 1), entities)
    found = ranks.measured()
    assert found["mrr"] == pytest.approx(sum(1 / place for place in range(1, entities + 1)) / entities)
    assert found["hits@10"] == pytest.approx(10 / entities)
    assert ranks.mean_Q.tolist() == [(entities + 1) / 2] * 2


def test_ties_are_the_mean_over_all_orders() -> None:
    """Two are better, three tie: ranks 3, 4 and 5 are as probable as each other."""
    ranks = Ranks(torch.tensor([2]), torch.tensor([3]))
    orders = [order.index(0) + 3 for order in permutations(range(3))]
    assert float(ranks.mean_Q) == sum(orders) / 6
    assert float(ranks.reciprocal_Q) == pytest.approx(sum(1 / rank for rank in orders) / 6)
    assert [float(ranks.hits_Q(k)) for k in (2, 3, 4, 5, 9)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])


def test_what_is_no_number_is_worst() -> None:
    triples = torch.tensor([[0, 0, 1]])
    score = torch.full((5, 5), math.nan)
    score[:, 3] = -1e9
    ranks = filtered_ranks(Fixed(score), triples, known_of(triples, 1), 5)
    assert (int(ranks.better_Q), int(ranks.tied_Q)) == (1, 4)


def test_sides_are_told_apart() -> None:
    queries = torch.tensor([[0, 0, 1], [1, 1, 0]])
    found = measured_by_side(Ranks(torch.tensor([0, 3]), torch.ones(2, dtype=torch.int64)), queries, relations=1)
    assert [found[side]["mrr"] for side in ("tail", "head", "both")] == pytest.approx([1.0, 0.25, 0.625])


def test_near_is_within_so_many_hops_to_either_side() -> None:
    """A chain 0 - 1 - 2 - 3, and 4 alone."""
    graph = adjacency(torch.tensor([[0, 0, 1], [2, 0, 1], [2, 1, 3]]), 5)
    near = [within(graph, torch.tensor([0, 4]), hops).long().tolist() for hops in (0, 1, 2, 3)]
    assert [row[0] for row in near] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert all(row[1] == [0, 0, 0, 0, 1] for row in near)


def test_the_bonus_comes_before_the_filter_and_only_where_it_helps() -> None:
    """Train: 0 - 1 and 1 - 2. The tail 2 of (0, 0) is two hops away, the best score is that of 3, which is not near. A
    bonus for a known tail changes nothing."""
    train, test = torch.tensor([[0, 0, 1], [1, 0, 2]]), torch.tensor([[0, 0, 2]])
    scores = Fixed(torch.tensor([0.1, 0.5, 0.1, 0.25]).expand(4, 4))
    known, graph = known_of(torch.cat([train, test]), 1), adjacency(train, 4)
    plain = filtered_ranks(scores, test, known, 4)
    assert (int(plain.better_Q), int(plain.tied_Q)) == (1, 2)
    assert int(filtered_ranks(NearBonus(scores, graph, 0.2, 2), test, known, 4).better_Q) == 0
    chosen = choose_bonus(scores, graph, test, known, 4)
    assert (chosen.bonus, chosen.hops) == (0.2, 2)
    far = choose_bonus(scores, graph, torch.tensor([[0, 0, 3]]), known, 4)
    assert far.bonus == 0.0


def test_scores_are_standardised_within_a_query() -> None:
    score = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert torch.allclose(standardise(score.clone()), torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert torch.allclose(standardise(7 * score - 3, 0.5), standardise(score) / 2, atol=1e-6)


def test_the_weight_is_that_of_the_better_model() -> None:
    graph = small_kg()
    queries = both_ways(graph.train_E3[:9], graph.relations)
    good = torch.zeros(graph.entities, graph.entities)
    good[queries[:, 0], queries[:, 2]] = 1.0
    noise = torch.randn(graph.entities, graph.entities, generator=torch.Generator().manual_seed(1))
    for text, structure, right in ((good, noise, 1.0), (noise, good, 0.0)):
        weight = choose_weight(Fixed(text), Fixed(structure), queries, graph.known, graph.entities)
        both = filtered_ranks(Hybrid(Fixed(text), Fixed(structure), weight), queries, graph.known, graph.entities)
        best = filtered_ranks(Fixed(good), queries, graph.known, graph.entities).measured()["mrr"]
        assert abs(weight - right) < 0.5 and both.measured()["mrr"] >= best
    assert hybrid.WEIGHTS[0] == 0.0 and hybrid.WEIGHTS[-1] == 1.0
