"""The dense parameters of a model as one vector: one allreduce and one optimizer step, however many layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.sparse import Decay


class FlatParameters:
    """Moves the parameters into one float32 vector [n] that they stay views of; gradients likewise.

    The gradient's buffer has two more places, for the sums of the loss and of the weights, so that one allreduce of
    the step carries all that ranks must add up.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        self.data = nn.Parameter(
            torch.cat([parameter.detach().reshape(-1).float() for parameter in parameters])
        )
        self._buffer = torch.zeros(len(self.data) + 2, device=self.data.device)
        self.data.grad = self._buffer[:-2]
        views = zip(self.data.detach().split(sizes), self.data.grad.split(sizes), parameters, strict=True)
        for data, grad, parameter in views:
            parameter.data = data.view_as(parameter)
            parameter.grad = grad.view_as(parameter)

    def zero_grad(self) -> None:
        self._buffer.zero_()

    def reduce(self, context: Context, loss_sum: Tensor, weight_sum: Tensor) -> tuple[float, float]:
        """Add gradients (of the *sum* of the weighted losses) and sums over all ranks, and divide by the sum of the
        weights: the gradient and the value of the weighted mean over the global batch. Returns that value, and the sum
        of the weights."""
        self._buffer[-2], self._buffer[-1] = loss_sum.detach(), weight_sum
        context.allreduce(self._buffer)
        self._buffer[:-1] /= self._buffer[-1]
        return float(self._buffer[-2]), float(self._buffer[-1])


class Average:
    """Exponential average of the parameters over steps: a <- a + (1 - m) (w - a), m as ``Decay`` says. Evens out what
    the last windows pull (Polyak and Juditsky 1992). With ``decay`` 0 it is the parameters themselves."""

    def __init__(self, flat: FlatParameters, decay: float) -> None:
        self._flat, self._decay, self._step = flat, Decay(decay), 0
        self.data = flat.data.detach().clone()

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after a step."""
        self.data.lerp_(self._flat.data, 1.0 - self._decay.kept(self._step))
        self._step += 1

    def restore(self, data: Tensor, step: int) -> None:
        """Go on from a checkpoint."""
        self.data.copy_(data)
        self._step = step

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the averaged weights for a while."""
        now = self._flat.data.detach().clone()
        self._flat.data.data.copy_(self.data)
        try:
            yield
        finally:
            self._flat.data.data.copy_(now)
