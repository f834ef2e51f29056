"""ZOOMER tells what it attended to: the very weights that its request vectors are made with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from roilake.pipelines.retrieval.models import build
from roilake.pipelines.retrieval.models.attention import Attention
from roilake.pipelines.retrieval.models.graphsage import map_name
from tests.retrieval.models.test_models import DIM, ITEM, REQUEST, SCHEMA, features, requests, shaken

VARIANTS = [
    {},
    {"neighbours": "frozen"},
    {"feature_attention": False},
    {"edge_attention": False},
    {"semantic_attention": False},
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def span(tensor_BS: Tensor, index: int) -> Tensor:
    """The entries of a slot [B, P, k]."""
    slot = REQUEST.slots[index]
    return tensor_BS[:, slot.start : slot.start + slot.size].unflatten(1, (-1, slot.fanout))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_attention_sums_to_one_per_group(options: dict[str, Any]) -> None:
    batch = requests()
    told = shaken("zoomer", **options).attention(batch, features())
    slots = [slot for attention in told for slot in attention.slots]
    assert len(slots) == len(set(slots)) == len(REQUEST.slots)
    empty = 0
    for attention in told:
        total = attention.semantic_BPR.sum(2)
        torch.testing.assert_close(total, torch.ones_like(total))
        assert attention.semantic_BPR.shape[2] == 1 + len(attention.slots)
        for slot, weight_BPk in zip(attention.slots, attention.edge, strict=True):
            held_BPk = span(batch.neighbours_BS, REQUEST.slots.index(slot)) >= 0
            torch.testing.assert_close(weight_BPk.sum(2), held_BPk.any(2).float())
            assert (weight_BPk[~held_BPk] == 0).all()
            empty += int((~held_BPk.any(2)).sum())
    assert empty > 0


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_attention_gives_the_request_vector_again(options: dict[str, Any]) -> None:
    model, given, batch = shaken("zoomer", **options), features(), requests()
    told = {attention.slots: attention for attention in model.attention(batch, given)}
    user_BD, query_BD = model.roots([batch.user_B, batch.query_B], ("user", "query"), given)
    nodes = model.neighbour_nodes(REQUEST, batch.neighbours_BS, given, user_BD)

    def seen(own_BPD: Tensor, indices: list[int]) -> Tensor:
        """R sum_r b_r z_r, with z_r = W sum_j a_j N_j."""
        attention: Attention = told[tuple(REQUEST.slots[index] for index in indices)]
        relations = [own_BPD]
        for index, weight_BPk in zip(indices, attention.edge, strict=True):
            ids_BPk, below = span(batch.neighbours_BS, index), list(REQUEST.children(index))
            child_BPkD = nodes[REQUEST.slots[index].dst_type].at(ids_BPk)
            if below:
                child_BPkD = seen(child_BPkD.flatten(1, 2), below).reshape(child_BPkD.shape)
            pooled_BPD = (weight_BPk.unsqueeze(-1) * child_BPkD).sum(2)
            relations.append(model.maps[map_name(REQUEST.slots[index])](pooled_BPD))
        weighted = [attention.semantic_BPR[..., r : r + 1] * z for r, z in enumerate(relations)]
        return len(relations) * sum(weighted[1:], weighted[0])

    roots = [
        seen(root_BD.unsqueeze(1), [i for i, s in enumerate(REQUEST.slots) if s.parent is None and s.root == n])
        for n, root_BD in enumerate((user_BD, query_BD))
    ]
    again_BD = model.towers.requests(roots[0].squeeze(1), roots[1].squeeze(1))
    torch.testing.assert_close(again_BD, model.embed_requests(batch, given), rtol=1e-5, atol=1e-5)


def test_attention_is_told_only_when_asked_for() -> None:
    model, given, batch = shaken("zoomer"), features(), requests()
    assert len(model.attention(batch, given)) == len(model.attention(batch, given)) > 0
    model.embed_requests(batch, given)
    assert model._attention is None


def test_edge_attention_starts_as_the_mean_and_learns_from_all_that_it_is_given() -> None:
    model = build("zoomer", {"dim": DIM}, SCHEMA, REQUEST, ITEM)
    batch, given = requests(40), features()
    for attention in model.attention(batch, given):
        for slot, weight_BPk in zip(attention.slots, attention.edge, strict=True):
            held_BPk = (span(batch.neighbours_BS, REQUEST.slots.index(slot)) >= 0).float()
            equal_BPk = held_BPk / held_BPk.sum(2, keepdim=True).clamp(min=1)
            assert torch.equal(weight_BPk, equal_BPk)
    model.embed_requests(batch, given).pow(3).sum().backward()
    slopes = {name: p.grad for name, p in model.named_parameters() if name.startswith("edge.hop1_user")}
    assert slopes["edge.hop1_user_item.signal"].shape == slopes["edge.hop1_user_query.signal"].shape == (3,)
    assert all((slope.abs() > 1e-6).all() for slope in slopes.values())


@pytest.mark.parametrize("name", ["linked_BS", "recency_BS", "relevance_BS"])
def test_each_signal_moves_the_weights(name: str) -> None:
    model, batch, given = shaken("zoomer"), requests(), features()
    turned = replace(batch, **{name: getattr(batch, name).flip(1)})
    assert not torch.allclose(model.embed_requests(batch, given), model.embed_requests(turned, given), atol=1e-5)


def test_learnt_relevance_is_what_edge_attention_weighs_a_history_by() -> None:
    model = build("zoomer", {"dim": DIM}, SCHEMA, REQUEST, ITEM)
    assert model.relevance_weights() is None
    with torch.no_grad():
        model.edge["hop1_user_item"].signal.copy_(torch.tensor([1.0, 2.0, -5.0]))
    assert model.relevance_weights() == {"likeness": 0.125, "linked": 0.25, "recency": -0.625}
    assert build("zoomer", {"edge_attention": False}, SCHEMA, REQUEST, ITEM).relevance_weights() is None
