"""Batch normalisation over ranks against torch's own on the whole batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roilake.training import Context, LocalContext
from roilake.training.batch_norm import SyncBatchNorm, convert_batch_norm
from tests.training.toy import make_net, on_ranks

CUT = 5  # of 16 rows


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("shape", [(16, 3), (16, 3, 7), (16, 3, 4, 5)])
def test_unequal_parts_are_the_whole_batch(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    kind: Any = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    draw = torch.Generator().manual_seed(0)
    steps = [3.0 + 2.0 * torch.randn(shape, generator=draw) for _ in range(3)]
    pull = torch.randn(shape, generator=draw)

    def run(norm: nn.Module, rows: slice) -> tuple[list[Tensor], dict[str, Tensor]]:
        outputs = []
        for step in steps:
            values = step[rows].clone().requires_grad_()
            output = norm(values)
            (output * pull[rows]).sum().backward()
            assert values.grad is not None
            outputs += [output.detach(), values.grad]
        gradients = {f"{name}.grad": p.grad for name, p in norm.named_parameters() if p.grad is not None}
        return [*outputs, norm.eval()(steps[0][rows]).detach()], {**norm.state_dict(), **gradients}

    def rank(context: Context) -> tuple[list[Tensor], dict[str, Tensor]]:
        return run(
            convert_batch_norm(kind(3, **options), context), slice(CUT) if context.rank == 0 else slice(CUT, None)
        )

    expected, state = run(kind(3, **options), slice(None))
    (first, first_state), (second, second_state) = on_ranks(rank)
    assert first_state.keys() == second_state.keys() == state.keys()
    for whole, *parts in zip(expected, first, second, strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)
    for name, tensor in state.items():
        if name.endswith(".grad"):  # the trainer sums them
            torch.testing.assert_close(first_state[name] + second_state[name], tensor, atol=1e-4, rtol=1e-5)
        else:
            torch.testing.assert_close(first_state[name], tensor, atol=1e-5, rtol=1e-5)
            assert torch.equal(first_state[name], second_state[name])


def test_only_normalisations_are_replaced_and_only_where_ranks_are_several() -> None:
    def converted(context: Context) -> tuple[list[str], list[str], bool]:
        net = make_net()
        keys, parameters = list(net.state_dict()), list(net.parameters())
        model = convert_batch_norm(net, context)
        found = [name for name, part in model.named_modules() if isinstance(part, SyncBatchNorm)]
        same = all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
        return found, keys, same and list(model.state_dict()) == keys

    for names, _, same in on_ranks(converted):
        assert names == ["image.1", "norm"] and same
    assert converted(LocalContext())[0] == []
