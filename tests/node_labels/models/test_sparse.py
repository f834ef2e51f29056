"""Products of patterns against dense ones."""

from __future__ import annotations

import pytest
import torch

from roilake.pipelines.node_labels.models.sparse import Pattern


@pytest.mark.parametrize("share", [0.3, 0.0, 1.0])
def test_products_and_their_gradients_are_those_of_the_dense_matrix(share: float) -> None:
    draw = torch.Generator().manual_seed(0)
    known = torch.rand(7, 9, generator=draw) < share
    known[2], known[:, 4] = False, False
    row_E, column_E = known.nonzero().T
    pattern = Pattern.of(row_E, column_E, 7, 9)
    value_E = torch.randn(len(row_E), generator=draw, requires_grad=True)
    x = torch.randn(9, 5, generator=draw, requires_grad=True)
    pull = torch.randn(7, 5, generator=draw)
    dense = torch.zeros(7, 9).index_put((row_E, column_E), value_E)
    found = pattern.product(value_E, x)
    torch.testing.assert_close(found, dense @ x)
    gradients = [torch.autograd.grad((out * pull).sum(), [value_E, x]) for out in (found, dense @ x)]
    torch.testing.assert_close(*gradients)
    assert torch.equal(pattern.row_E, row_E)


def test_means_and_symmetric_weights() -> None:
    edges = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]])
    pattern = Pattern.of(*edges, 4, 4)
    half = 0.5**0.5
    assert pattern.mean_E.tolist() == [0.5, 0.5, 1.0, 1.0]
    torch.testing.assert_close(pattern.symmetric_E, torch.full((4,), half))
    assert pattern.product(pattern.mean_E, torch.ones(4, 1)).flatten().tolist() == [1.0, 1.0, 1.0, 0.0]
