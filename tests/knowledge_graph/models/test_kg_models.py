"""Models of knowledge graphs: what each scores, that all of it learns, and awkward texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from roilake.errors import ConfigError
from roilake.pipelines.knowledge_graph import models
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, KnownTails, both_ways
from roilake.pipelines.knowledge_graph.models.text.encoders import PretrainedEncoder, ScratchEncoder
from roilake.pipelines.knowledge_graph.models.text.neighbours import Neighbours, neighbour_lists
from roilake.pipelines.knowledge_graph.models.text.tokens import Tokens, hashed_words
from roilake.training.context import determinism, threads
from tests.knowledge_graph.small_kg import SCRATCH, batch_of, small_kg

FIRST = 6  # number of the triple (0, next to, 1)
STRUCTURAL = ("compl_ex", "rotat_e", "trans_e")
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"width": 8, "dropout": 0.0}) for kind in STRUCTURAL),
    *((kind, {"width": 8, "dropout": 0.0, "candidates": 6}) for kind in STRUCTURAL),
    ("compl_ex", {"width": 8, "dropout": 0.0, "regularization": 0.1}),
    ("simkgc", SCRATCH),
    ("simkgc", {**SCRATCH, "shared": True, "pre_batch": 10}),
    ("simkgc", {**SCRATCH, "neighbours": 0}),
]


@pytest.fixture(autouse=True)
def _as_in_training() -> Iterator[None]:
    with threads(1), determinism("strict"):
        yield


def model(kind: str, graph: KnowledgeGraph | None = None, **options: Any) -> Any:
    torch.manual_seed(3)
    return models.build(kind, options, graph or small_kg())


def test_kinds_and_their_options() -> None:
    assert models.kinds() == ("compl_ex", "rotat_e", "simkgc", "trans_e")
    with pytest.raises(ConfigError, match="unknown kind 'dist_mult': one of compl_ex, rotat_e"):
        models.check("dist_mult", {})
    with pytest.raises(ConfigError, match=r"rotat_e: option 'width'.*multiple of 2"):
        models.check("rotat_e", {"width": 7})
    with pytest.raises(ConfigError, match=r"simkgc: option 'layers'.*less than or equal to 6"):
        models.check("simkgc", {"layers": 7})


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_every_parameter_learns(kind: str, options: dict[str, Any]) -> None:
    graph, built = small_kg(), model(kind, **options)
    terms = built.losses(batch_of(graph, torch.arange(len(graph.train_E3))))
    sum(term.total * term.coefficient for term in terms.values()).backward()
    idle = [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    grouped = [id(p) for group, _ in built.groups() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in built.parameters())


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_blocks_of_entities_and_of_queries_do_not_matter(kind: str, options: dict[str, Any]) -> None:
    graph, built = small_kg(), model(kind, **{**options, "dropout": 0.5}).eval()
    head_Q, relation_Q, _ = both_ways(graph.train_E3, graph.relations).unbind(1)
    with torch.no_grad():
        whole = built.scores(built.queries(head_Q, relation_Q), built.entities(0, graph.entities))
        entities = torch.cat(
            [built.entities(first, min(first + 5, graph.entities)) for first in range(0, graph.entities, 5)]
        )
        queries = torch.cat([built.queries(h, r) for h, r in zip(head_Q.split(3), relation_Q.split(3), strict=True)])
    assert whole.shape == (len(head_Q), graph.entities) and whole.isfinite().all()
    torch.testing.assert_close(built.scores(queries, entities), whole, atol=1e-4, rtol=1e-4)


def complex_of(vector: Tensor) -> Tensor:
    return torch.complex(*vector.chunk(2, dim=-1))


def published(kind: str, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
    """Scores of heads and relations with all tails [Q, N], by the papers' equations."""
    if kind == "trans_e":
        return -(h[:, None] + r[:, None] - t).norm(dim=2)
    if kind == "compl_ex":
        return (complex_of(h) * complex_of(r))[:, None].mul(complex_of(t).conj()).sum(dim=2).real
    turned = complex_of(h) * torch.exp(1j * r)
    return -(turned[:, None] - complex_of(t)).abs().square().sum(dim=2).sqrt()


@pytest.mark.parametrize("kind", STRUCTURAL)
def test_scores_are_those_of_the_papers(kind: str) -> None:
    head, relation, tail = torch.tensor([0, 9]), torch.tensor([1, 2]), torch.tensor([3, 4])
    built = model(kind, width=8)
    with torch.no_grad():
        queries = built.queries(head, relation)
        found = built.scores(queries, built.entities(0, small_kg().entities))
        expected = published(kind, built.entity(head), built.relation(relation), built.entity.weight)
        own = built.own_scores(queries, built.entity(tail))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own, expected[torch.arange(2), tail], atol=1e-4, rtol=1e-4)


def test_n3_is_over_moduli() -> None:
    graph, built = small_kg(), model("compl_ex", width=8, dropout=0.0, regularization=0.1)
    batch = batch_of(graph, torch.tensor([0]))
    vectors = (built.entity(batch.head_Q), built.relation(batch.relation_Q), built.entity(batch.tail_Q))
    expected = sum(complex_of(each).abs().pow(3).sum() for each in vectors)
    term = built.losses(batch)["n3"]
    assert float(term.total) == pytest.approx(float(expected), rel=1e-5) and float(term.weight) == 2
    assert term.coefficient == 0.1


def test_drawn_candidates_stand_for_all_entities() -> None:
    """The mean over draws of sum exp(s) is that over all entities."""
    graph, options = small_kg(), {"width": 8, "dropout": 0.0}
    everything, drawn = model("trans_e", **options), model("trans_e", **options, candidates=len(small_kg().entity_text))
    batch = batch_of(graph, torch.arange(10))
    found = [float(drawn.losses(replace(batch, step=step))["cross_entropy"].total) for step in range(200)]
    expected = float(everything.losses(batch)["cross_entropy"].total)
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.02) and len(set(found)) > 100


def test_a_neighbour_that_is_the_answer_is_left_out() -> None:
    """The planted answer is known by its text alone: what is around the head must not change with it."""
    graph = small_kg()
    planted = replace(graph, entity_text=(*graph.entity_text[:1], "GOLD GOLD GOLD", *graph.entity_text[2:]))
    around = []
    for each in (graph, planted):
        torch.manual_seed(0)
        encoder = ScratchEncoder(each.entity_text, 20, 1, 1, 0.0, 16)
        neighbours = Neighbours(each, 10, 16)
        head, answer = torch.tensor([0]), torch.tensor([1])
        around.append([neighbours(encoder.plain, head, without) for without in (answer, None)])
    assert torch.equal(around[0][0], around[1][0])
    assert not torch.allclose(around[0][1], around[1][1])  # the canary is heard


def test_the_loss_never_sees_the_answer_beside_the_question() -> None:
    """Of the triple (0, next to, 1), what the head is known by must not change with the tail's text, nor the other way
    round; no other triple of the step is asked here."""
    graph = small_kg()
    seen: list[Tensor] = []
    for planted in (None, 0, 1):
        texts = ["GOLD GOLD GOLD" if number == planted else text for number, text in enumerate(graph.entity_text)]
        built = model("simkgc", replace(graph, entity_text=tuple(texts)), **SCRATCH)
        built.head_queries.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        built.head_entities.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        built.losses(batch_of(graph, torch.tensor([FIRST])))
    plain, head, tail = seen[:2], seen[2:4], seen[4:]
    for changed, same in ((head, 1), (tail, 0)):  # the query of row 0 has head 0, that of row 1 has head 1
        other = 1 - same
        assert torch.equal(changed[0][same], plain[0][same]) and torch.equal(changed[1][other], plain[1][other])
        assert not torch.equal(changed[0][other], plain[0][other])  # the canary is heard


def test_neighbours_are_the_first_by_number() -> None:
    graph = KnowledgeGraph(("a", "b", "c", "d"), ("r",), torch.tensor([[0, 0, 3], [2, 0, 0], [0, 0, 1]]))
    entity_NK, relation_NK = neighbour_lists(graph, 2)
    assert entity_NK.tolist() == [[1, 2], [0, -1], [0, -1], [0, -1]]
    assert relation_NK.tolist() == [[0, 1], [1, 0], [0, 0], [1, 0]]


def test_texts_that_are_empty_long_or_of_any_script() -> None:
    texts = ("", "Straße: 道路 идёт", "word " * 20000, "\U0001f600", "a" * 100_000)
    graph = KnowledgeGraph(texts, ("r",), torch.tensor([[0, 0, 1], [2, 0, 3], [4, 0, 0]]))
    for options in (SCRATCH, {**SCRATCH, "encoder": "pretrained", "layers": 0}):
        built = model("simkgc", graph, **options)
        terms = built.losses(batch_of(graph, torch.arange(3)))
        assert all(term.total.isfinite() for term in terms.values())
        assert built.eval().entities(0, 5).isfinite().all()


def test_hashed_words() -> None:
    assert hashed_words("", 100, 5) == hashed_words(" ", 100, 5) and len(hashed_words("", 100, 5)) == 1
    assert hashed_words("Road, road", 1 << 15, 9)[0] == hashed_words("ROAD", 1 << 15, 9)[0]
    assert len(hashed_words("a b c d", 100, 3)) == 3
    breath, breathe = (set(hashed_words(word, 1 << 15, 9)[0]) for word in ("breath", "breathe"))
    assert len(breath & breathe) >= 5


def test_tokens_lie_where_their_layout_says() -> None:
    tokens = Tokens.of([[5], [6, 7, 8], [9, 1]])
    layout = tokens.layout(torch.tensor([2, 0, 2]))
    value_TD = tokens.number_T[layout.index_T].float()[:, None]
    assert value_TD[:, 0].tolist() == [9, 1, 5, 9, 1]
    assert layout.grid(value_TD)[..., 0].tolist() == [[9, 1], [5, 0], [9, 1]]
    assert torch.equal(layout.tokens(layout.grid(value_TD)), value_TD)
    assert layout.mean(value_TD)[:, 0].tolist() == [5, 5, 5]


def test_known_tails_of_queries() -> None:
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [1, 0, 2], [0, 0, 1]])
    known = KnownTails.of(both_ways(triples, 1), 2)
    rows, tails = known.pairs(torch.tensor([2, 0, 3, 1]), torch.tensor([1, 0, 0, 1]))
    assert list(zip(rows.tolist(), tails.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1), (1, 2), (3, 0)]
    nothing = KnownTails.of(torch.empty(0, 3, dtype=torch.int64), 2)
    assert [len(each) for each in nothing.pairs(torch.tensor([0]), torch.tensor([0]))] == [0, 0]


def test_the_pretrained_encoder_is_the_published_one() -> None:
    """Sentences that say the same are near, as the model's card has it; no layer that learns, one and all agree."""
    texts = ("That is a happy person", "That is a happy dog", "Today is a sunny day")
    encoders = [PretrainedEncoder(texts, 50, layers, 1, 0.0).eval() for layers in (0, 1, 6)]
    every = torch.arange(3)
    with torch.no_grad():
        found = [encoder(every, 0) for encoder in encoders]
        encoders[1].prepare()
        cached = encoders[1](every, 0)
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[2], found[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cached, found[0], atol=0.01, rtol=0.01)  # float16
    torch.testing.assert_close(encoders[1].plain(every), found[0], atol=0.01, rtol=0.01)
    near = torch.nn.functional.cosine_similarity(found[0][:1], found[0][1:])
    assert near.tolist() == pytest.approx([0.695, 0.257], abs=0.01)
    assert not any(name.startswith("_") for name in encoders[0].state_dict()) and len(encoders[0].state_dict()) == 1
