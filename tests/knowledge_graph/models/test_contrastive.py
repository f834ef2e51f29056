"""InfoNCE against a plain loop; what each of its parts leaves out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, TripleBatch
from roilake.pipelines.knowledge_graph.models.contrastive import InfoNCE, known_among
from tests.knowledge_graph.small_kg import batch_of

GRAPH = KnowledgeGraph(
    tuple("abcdefgh"), ("r", "s"), torch.tensor([[0, 0, 1], [0, 0, 2], [3, 1, 4], [5, 0, 1], [1, 1, 3], [6, 0, 7]])
)
BATCH = batch_of(GRAPH, torch.tensor([0, 2, 3, 4]))


def loss(**options: Any) -> InfoNCE:
    common = {"temperature": 0.1, "fixed_temperature": False, "margin": 0.0, "ring": 0}
    return InfoNCE(4, **{**common, "self_negatives": True, "false_negative_mask": True, **options})


def vectors(seed: int = 0, rows: int = 8) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    query, tail = (F.normalize(torch.randn(rows, 4, generator=draw), dim=1) for _ in range(2))
    return query, tail


def known(head: int, relation: int) -> set[int]:
    return set(GRAPH.known.pairs(torch.tensor([head]), torch.tensor([relation]))[1].tolist())


def by_hand(options: dict[str, Any], batch: TripleBatch = BATCH) -> tuple[float, float]:
    """The sums of both cross-entropies, one exponential after the other."""
    query, tail = vectors()
    rows = list(zip(batch.head_Q.tolist(), batch.relation_Q.tolist(), batch.tail_Q.tolist(), strict=True))

    def logit(q: int, t: int) -> float:
        return (float(query[q] @ tail[t]) - options.get("margin", 0.0) * (q == t)) / 0.1

    def counts(q: int, t: int) -> bool:
        head, relation, _ = rows[q]
        if q == t:
            return True
        if options.get("false_negative_mask", True) and rows[t][2] in known(head, relation):
            return False
        return options.get("self_negatives", True) or rows[t][2] != head

    every, forward, back = range(len(rows)), 0.0, 0.0
    for i in every:
        forward += math.log(sum(math.exp(logit(i, j)) for j in every if counts(i, j))) - logit(i, i)
        back += math.log(sum(math.exp(logit(j, i)) for j in every if counts(j, i))) - logit(i, i)
    return forward, back


@pytest.mark.parametrize("options", [{}, {"margin": 0.02}, {"self_negatives": False}, {"false_negative_mask": False}])
def test_both_directions_are_those_of_a_plain_loop(options: dict[str, Any]) -> None:
    terms = loss(**options)(*vectors(), BATCH)
    assert (float(terms["tails"].total), float(terms["queries"].total)) == pytest.approx(by_hand(options), rel=1e-4)
    assert float(terms["tails"].weight) == len(BATCH.head_Q)


def test_each_part_changes_the_loss() -> None:
    plain = by_hand({})
    for options in ({"margin": 0.02}, {"self_negatives": False}, {"false_negative_mask": False}):
        assert by_hand(options) != plain


def test_only_the_first_softmax_knows_the_ring() -> None:
    built = loss(ring=16)
    before = built(*vectors(0), BATCH)
    assert built.ring.tail_K.tolist() == [*BATCH.tail_Q.tolist(), *[-1] * 8]
    after = built(*vectors(1), BATCH)
    bare = loss()
    expected = bare(*vectors(1), BATCH)
    assert float(before["tails"].total) == pytest.approx(float(bare(*vectors(0), BATCH)["tails"].total))  # not filled
    assert float(after["queries"].total) == pytest.approx(float(expected["queries"].total))
    assert float(after["tails"].total) > float(expected["tails"].total)
    assert torch.equal(built.ring.vector_KD[:8], vectors(1)[1]) and torch.equal(built.ring.vector_KD[8:], vectors(0)[1])


def test_the_ring_has_half_the_logits_and_no_known_tails() -> None:
    """Query 0 is (0, r): of the ring its tails 1 and 2 are known, and leave 3, with the logit 0.5 cos / T."""
    built = loss(ring=3)
    query, tail = vectors()
    built.ring.push(torch.tensor([1, 2, 3]), tail[5:8])
    logits = built._earlier(query[:1], replace(BATCH, first=0, last=1), built.log_inverse.exp())
    assert logits[0, :2].tolist() == [-1e4, -1e4]
    assert float(logits[0, 2]) == pytest.approx(float(query[0] @ tail[7]) / 0.1 / 2, rel=1e-4)


def test_the_ring_gives_up_the_oldest_and_takes_no_gradient() -> None:
    built = loss(ring=10)
    query, tail = (each.requires_grad_() for each in vectors())
    for _ in range(3):
        terms = built(query, tail, BATCH)
    assert built.ring.tail_K.tolist() == [*BATCH.tail_Q.tolist(), *BATCH.tail_Q.tolist()[:2]]
    assert not built.ring.vector_KD.requires_grad
    terms["tails"].total.backward()
    assert query.grad is not None and tail.grad is not None
    assert "ring.vector_KD" not in built.state_dict() and "ring.vector_KD" in dict(built.named_buffers())


def test_the_temperature_learns_unless_fixed() -> None:
    for fixed in (False, True):
        built = loss(fixed_temperature=fixed)
        query, tail = (each.requires_grad_() for each in vectors())
        built(query, tail, BATCH)["tails"].total.backward()
        assert (built.log_inverse.grad is None) == fixed


def test_known_among_candidates() -> None:
    known_2P = torch.tensor([[0, 0, 2], [4, 9, 4]])
    found = known_among(known_2P, torch.tensor([4, 4, 5, 9]), 3)
    assert found.tolist() == [[True, True, False, True], [False] * 4, [True, True, False, False]]
    assert known_among(known_2P, torch.empty(0, dtype=torch.int64), 3).shape == (3, 0)
