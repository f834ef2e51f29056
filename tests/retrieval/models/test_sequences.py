"""Models that read a history item by item: what its padding and its order mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from roilake.pipelines.retrieval.models.gru4rec import Model as Gru
from roilake.pipelines.retrieval.models.sasrec import Block
from tests.retrieval.models.test_models import DIM, features, requests, shaken

KINDS = ("sasrec", "gru4rec")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(4)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    model, given = shaken(kind), features()
    batch = replace(requests(3), history_BL=torch.tensor([[-1, -1, 4], [-1, 2, 9], [7, 0, 3]]))
    wide_BL = torch.cat([torch.full((3, 4), -1), batch.history_BL], dim=1)
    for length in (0, 3):
        padded = replace(batch, history_BL=wide_BL[:, length:])
        found = model.embed_requests(padded, given)
        torch.testing.assert_close(found, model.embed_requests(batch, given), rtol=1e-5, atol=1e-6)
    short = replace(batch, history_BL=batch.history_BL[:, -1:])
    torch.testing.assert_close(model.embed_requests(short, given)[0], found[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_matters_and_what_is_beyond_the_length_does_not(kind: str) -> None:
    history_BL = torch.tensor([[5, 1, 8, 2], [5, 1, 2, 8], [6, 1, 8, 2]])
    query_B = torch.zeros(3, dtype=torch.long)
    model, given = shaken(kind, history_length=3), features()
    same = replace(requests(3), query_B=query_B, history_BL=history_BL)
    vectors_BD = model.embed_requests(same, given)
    assert not torch.allclose(vectors_BD[0], vectors_BD[1], atol=1e-3)
    torch.testing.assert_close(vectors_BD[0], vectors_BD[2])


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_user_nor_the_region_is_looked_at(kind: str) -> None:
    model, given, batch = shaken(kind), features(), requests()
    other = replace(batch, user_B=batch.user_B.flip(0), neighbours_BS=batch.neighbours_BS.flip(0))
    torch.testing.assert_close(model.embed_requests(batch, given), model.embed_requests(other, given))
    none = replace(batch, history_BL=torch.full_like(batch.history_BL, -1))
    assert torch.isfinite(model.embed_requests(none, given)).all()
    assert not torch.allclose(model.embed_requests(batch, given), model.embed_requests(none, given), atol=1e-3)


def test_the_last_block_computes_what_is_needed_of_the_whole() -> None:
    block, x_BLD = Block(DIM, 2, 0.0), torch.randn(5, 7, DIM)
    known_BL = torch.arange(7) >= torch.tensor([[0], [3], [6], [1], [2]])
    whole = block(x_BLD, known_BL, last=False)
    torch.testing.assert_close(block(x_BLD, known_BL, last=True), whole[:, -1:], rtol=1e-5, atol=1e-6)


def test_a_block_attends_as_torch_does() -> None:
    block, x_BLD = Block(DIM, 2, 0.0).eval(), torch.randn(5, 7, DIM)
    known_BL = torch.arange(7) >= torch.tensor([[0], [3], [6], [1], [2]])
    library = nn.MultiheadAttention(DIM, 2, batch_first=True).eval()
    with torch.no_grad():
        parts = (block.query, block.key, block.value)
        library.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        biases = [part.bias if part.bias is not None else torch.zeros(DIM) for part in parts]
        library.in_proj_bias.copy_(torch.cat(biases))
        library.out_proj.weight.copy_(torch.eye(DIM))
        library.out_proj.bias.zero_()
    normed = block.before(x_BLD)
    later_LL = torch.ones(7, 7, dtype=torch.bool).triu(1)
    attended, _ = library(normed, normed, normed, attn_mask=later_LL, key_padding_mask=~known_BL)
    own = x_BLD + attended
    own = own + block.outer(F.relu(block.inner(block.between(own))))
    found = block(x_BLD, known_BL, last=False)
    torch.testing.assert_close(found[known_BL], own[known_BL], rtol=1e-5, atol=1e-5)


def test_gru_is_that_of_each_history_alone() -> None:
    model: Gru = shaken("gru4rec")
    known_BL = torch.arange(6) >= torch.tensor([[0], [3], [5], [2]])
    items_BLD = torch.randn(4, 6, DIM) * known_BL.unsqueeze(2)
    for row, state_D in enumerate(model.state(items_BLD, known_BL)):
        alone = items_BLD[row][known_BL[row]]
        torch.testing.assert_close(state_D, model.unit(alone[None])[1][0, 0], rtol=1e-5, atol=1e-6)
