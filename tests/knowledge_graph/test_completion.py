"""The best new tails of pairs against a plain sort, and which pairs are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from roilake.errors import ConfigError, MetricError
from roilake.pipelines.knowledge_graph.completion.asked import asked_pairs
from roilake.pipelines.knowledge_graph.completion.best import Rules, best_new, validated_temperature
from roilake.pipelines.knowledge_graph.completion.tasks import known_tails
from roilake.pipelines.knowledge_graph.config import CompletionConfig
from roilake.pipelines.knowledge_graph.models import KnownTails, both_ways
from roilake.pipelines.knowledge_graph.training.inputs import SPLITS, Facts

N, R = 300, 3


@dataclass(frozen=True)
class Table:
    """Scores [N, 2 R, N] written down."""

    scores: Tensor

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        return self.scores[head_q, relation_q].clone()


def facts(triples: dict[str, list[tuple[int, int, int]]], items: tuple[int, ...] = ()) -> Facts:
    entities = pa.table(
        {
            "entity": list(range(N)),
            "key": [f"e{n:03}" for n in range(N)],
            "text": [""] * N,
            "items": [[str(n)] if n in items else [] for n in range(N)],
        }
    )
    relations = pa.table({"relation": list(range(R)), "key": ["a", "b", "c"], "text": ["a", "b", "c"]})
    own = {name: torch.tensor(triples.get(name, []), dtype=torch.int64).reshape(-1, 3) for name in SPLITS}
    return Facts(entities, relations, own)


def random_known(seed: int) -> tuple[Tensor, KnownTails]:
    generator = torch.Generator().manual_seed(seed)
    triple_E3 = torch.stack([torch.randint(0, most, (900,), generator=generator) for most in (N, 2 * R, N)], dim=1)
    return triple_E3, KnownTails.of(triple_E3, 2 * R)


@pytest.mark.parametrize("values", [8, 1_000_000])
def test_the_best_are_those_of_a_plain_sort_without_what_is_known(values: int) -> None:
    """With few different scores, ties go to the smaller number."""
    triple_E3, known = random_known(1)
    scores = torch.randint(0, values, (N, 2 * R, N), generator=torch.Generator().manual_seed(2)).float() / values
    pair_q2 = torch.cartesian_prod(torch.arange(40), torch.arange(2 * R))
    found = best_new(Table(scores), pair_q2, Rules(7, 0.5, known))
    for row, (head, relation) in enumerate(pair_q2.tolist()):
        own = triple_E3[(triple_E3[:, 0] == head) & (triple_E3[:, 1] == relation), 2]
        new = sorted(set(range(N)) - {head, *own.tolist()})
        own_n = scores[head, relation].double().numpy()
        order = sorted(new, key=lambda tail: (-own_n[tail], tail))[:7]
        assert found.tail_qK[row].tolist() == order
        total = np.exp(own_n[new] / 0.5).sum()
        np.testing.assert_allclose(found.probability_qK[row], np.exp(own_n[order] / 0.5) / total, rtol=1e-4)


def test_fewer_than_top_leave_places_empty_and_named_is_kept_to() -> None:
    scores, known = torch.rand(N, 2 * R, N), KnownTails.of(torch.tensor([[0, 1, 5]]), 2 * R)
    named = {relation: torch.tensor([0, 5, 9, 11]) for relation in range(2 * R)}
    found = best_new(Table(scores), torch.tensor([[0, 1], [3, 1]]), Rules(3, 1.0, known, named))
    assert {*found.tail_qK[0].tolist()} == {9, 11, -1} and found.tail_qK[0, 2] == -1
    assert {*found.tail_qK[1].tolist()} <= {0, 5, 9, 11}
    assert found.probability_qK[0, :2].sum() == pytest.approx(1) and found.probability_qK[0, 2] == 0
    nothing = best_new(Table(scores), torch.tensor([[0, 1]]), Rules(3, 1.0, known, {1: torch.tensor([0, 5])}))
    assert nothing.tail_qK.tolist() == [[-1, -1, -1]]


def test_more_than_there_are_may_be_asked_for() -> None:
    found = best_new(Table(torch.rand(N, 2 * R, N)), torch.tensor([[0, 1]]), Rules(1000, 1.0, random_known(1)[1]))
    left = int((found.tail_qK >= 0).sum())
    assert N - 20 <= left < N and (np.diff(found.score_qK[0, :left]) <= 0).all()


def test_a_score_that_is_no_number_is_an_error() -> None:
    scores = torch.full((N, 2 * R, N), torch.nan)
    with pytest.raises(MetricError, match="NaN"):
        best_new(Table(scores), torch.tensor([[0, 1]]), Rules(3, 1.0, random_known(1)[1]))


@pytest.mark.parametrize("true", [0.2, 1.0, 3.0])
def test_the_temperature_makes_probabilities_true(true: float) -> None:
    """Tails drawn with probabilities softmax(s / T) give T back."""
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(N, 2 * R, N, generator=generator)
    head_V, relation_V = torch.randint(0, N, (500,), generator=generator), torch.zeros(500, dtype=torch.int64)
    tail_V = torch.multinomial((scores[head_V, relation_V] / true).softmax(1), 1, generator=generator)[:, 0]
    query_V3 = torch.stack([head_V, relation_V, tail_V], dim=1)
    known = KnownTails.of(torch.empty(0, 3, dtype=torch.int64), 2 * R)
    assert validated_temperature(Table(scores), query_V3, known, N) == pytest.approx(true, rel=0.15)


TRIPLES = {"train": [(4, 0, 7), (2, 0, 7), (4, 1, 9)], "test": [(1, 0, 8)], "validation": [(1, 1, 8)]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [(1, 0), (1, 1), (2, 0), (4, 0), (4, 1)]),
        ({"relations": ("b",)}, [(1, 1), (4, 1)]),
        ({"relations": ("b",), "sought": ("tail", "head")}, [(1, 1), (4, 1), (8, 1 + R), (9, 1 + R)]),
        ({"asked": "items", "relations": ("a",)}, [(1, 0), (2, 0), (4, 0), (50, 0)]),
        ({"asked": "items", "relations": ("b",), "sought": ("head",)}, [(8, 1 + R), (9, 1 + R)]),
        ({"asked": "all", "relations": ("c",)}, [(n, 2) for n in range(N)]),
    ],
)
def test_asked_are_entities_with_the_relation_items_or_all(config: dict, expected: list[tuple[int, int]]) -> None:
    pairs = asked_pairs(facts(TRIPLES, items=(4, 50)), CompletionConfig(**config))
    assert [tuple(pair) for pair in pairs.tolist()] == expected


def test_an_unknown_relation_is_named() -> None:
    with pytest.raises(ConfigError, match="the night has no relation 'd'; there are a, b, c"):
        asked_pairs(facts(TRIPLES), CompletionConfig(relations=("d",)))


def test_known_tails_are_of_all_splits_and_both_ways() -> None:
    found = {relation: tails.tolist() for relation, tails in known_tails(facts(TRIPLES)).items()}
    assert found == {0: [7, 8], 1: [8, 9], 2: [], 3: [1, 2, 4], 4: [1, 4], 5: []}
    assert len(both_ways(torch.tensor(TRIPLES["train"]), R)) == 6
