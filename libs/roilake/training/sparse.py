"""Embedding tables of which a step touches few rows: gradients, Adam and weight averaging of those rows alone.

Legend: R rows of all tables, T rows touched by a step, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from roilake.training.context import Context

torch.sparse.check_sparse_tensor_invariants.disable()  # its default, of which torch warns unless it is set

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Decay:
    """Weights of an exponential average whose first steps are forgotten soon: the average keeps min(decay, t / (t + 5))
    of itself at step t = 0, 1, ... (the warm-up is ours)."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._warm = max(1.0, math.ceil(5 * decay / (1 - decay))) if decay < 1 else 2.0**40

    def kept(self, step: int) -> float:
        """What is kept at one step."""
        return min(self._decay, step / (step + 5))

    def kept_since(self, first_T: Tensor, step: int) -> Tensor:
        """Product of ``kept`` over the steps from ``first_T`` up to ``step``, without it [T]:
        prod s / (s + 5) = q(first) / q(step) with q(t) = t (t + 1) ... (t + 4), then powers of ``decay``."""
        first = first_T.double()
        last = torch.full_like(first, step)
        early = _q(first.clamp(max=self._warm)) / _q(last.clamp(min=1.0, max=self._warm))
        early = torch.where(first == step, 1.0, early)
        return early * self._decay ** (last.clamp(min=self._warm) - first.clamp(min=self._warm))


def _q(step: Tensor) -> Tensor:
    return step * (step + 1) * (step + 2) * (step + 3) * (step + 4)


@contextmanager
def replaced(data: Tensor, other: Tensor) -> Iterator[None]:
    """Let ``data`` have the values of ``other`` for a while."""
    before = data.clone()
    data.copy_(other)
    try:
        yield
    finally:
        data.copy_(before)


class RowTables:
    """All tables of one width as one [R, D] that they stay views of.

    A step's gradient is (ids, rows) of what any rank has touched. Adam's moments and the weights move only there (lazy
    Adam: bias corrections count all steps; where every row is touched in every step it is Adam). The average of a row
    catches up when the row is next touched, and at the end: exactly, for the row has not moved in between.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float, weight_decay: float = 0.0) -> None:
        self._parameters, self._decay, self._weight_decay = parameters, Decay(decay), weight_decay
        sizes = [len(parameter) for parameter in parameters]
        self.data = torch.cat([parameter.detach() for parameter in parameters])
        self._starts = [sum(sizes[:index]) for index in range(len(sizes))]
        for parameter, rows in zip(parameters, self.data.split(sizes), strict=True):
            parameter.data = rows
        self._first, self._second = torch.zeros_like(self.data), torch.zeros_like(self.data)
        self._average = self.data.clone()
        self._averaged = torch.zeros(sum(sizes), dtype=torch.int64, device=self.data.device)  # steps taken in
        self.ids, self.gradient = self._averaged[:0], self.data[:0]

    def zero_grad(self) -> None:
        """Forget the gradients; the next step's are sparse tensors of other rows."""
        for parameter in self._parameters:
            parameter.grad = None

    def reduce(self, context: Context) -> None:
        """Set ``ids`` [T], ascending, and ``gradient`` [T, D] to the sums over all ranks, in their order."""
        self.ids, self.gradient = self._own_gradient()
        if context.workers > 1:
            self.ids, self.gradient = self._summed(*context.allgather(self.ids, self.gradient))

    def _own_gradient(self) -> tuple[Tensor, Tensor]:
        ids, rows = [self._averaged[:0]], [self.data[:0]]
        for parameter, start in zip(self._parameters, self._starts, strict=True):
            if parameter.grad is not None:
                ids.append(parameter.grad._indices()[0] + start)
                rows.append(parameter.grad._values())
        return self._summed(torch.cat(ids), torch.cat(rows))

    def _summed(self, ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        summed = torch.sparse_coo_tensor(ids[None], rows, self.data.shape).coalesce()
        return summed.indices()[0], summed.values()

    @torch.no_grad()
    def step(self, step: int, rate: float) -> None:
        """Adam at step 0, 1, ... on the rows ``ids``."""
        ids = self.ids
        data, average = self.data[ids], self._caught_up(ids, step)
        grad_TD = self.gradient.add(data, alpha=self._weight_decay)
        first = self._first[ids].lerp_(grad_TD, 1 - BETAS[0])
        second = self._second[ids].mul_(BETAS[1]).addcmul_(grad_TD, grad_TD, value=1 - BETAS[1])
        corrections = [1 - beta ** (step + 1) for beta in BETAS]
        size = second.sqrt().div_(math.sqrt(corrections[1])).add_(EPSILON)
        data.addcdiv_(first, size, value=-rate / corrections[0])
        average.lerp_(data, 1 - self._decay.kept(step))
        tables = (self.data, self._first, self._second, self._average)
        for table, rows in zip(tables, (data, first, second, average), strict=True):
            table.index_copy_(0, ids, rows)
        self._averaged[ids] = step + 1

    def _caught_up(self, ids: Tensor, step: int) -> Tensor:
        """Averages of the rows as of the start of ``step``."""
        kept_T1 = self._decay.kept_since(self._averaged[ids], step).float()[:, None]
        return self.data[ids].lerp_(self._average[ids], kept_T1)

    def averaged(self, step: int) -> AbstractContextManager[None]:
        """Let the tables hold the averages after ``step`` steps for a while."""
        everything = torch.arange(len(self.data), device=self.data.device)
        self._average = self._caught_up(everything, step)
        self._averaged.fill_(step)
        return replaced(self.data, self._average)

    def state(self) -> dict[str, Tensor]:
        """All beside ``data`` that the next step depends on."""
        return {
            "first": self._first, "second": self._second, "average": self._average, "averaged": self._averaged,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put ``state`` back."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
