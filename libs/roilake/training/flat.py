"""The dense parameters of a model as one vector: one allreduce and one optimizer step, however many layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from roilake.training.sparse import Decay


class FlatParameters:
    """Moves the parameters into one float32 vector [n] that they stay views of; gradients likewise."""

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        parts = [parameter.detach().reshape(-1).float() for parameter in parameters]
        self.data = nn.Parameter(torch.cat(parts) if parts else torch.empty(0, device=device))
        self.gradient = self.data.grad = torch.zeros_like(self.data.data)
        views = zip(self.data.detach().split(sizes), self.gradient.split(sizes), parameters, strict=True)
        for data, grad, parameter in views:
            parameter.data = data.view_as(parameter)
            parameter.grad = grad.view_as(parameter)


class Average:
    """Exponential average of the parameters over steps: a <- a + (1 - m) (w - a), m as ``Decay`` says. Evens out what
    the last steps pull (Polyak and Juditsky 1992). With ``decay`` 0 it is the parameters themselves."""

    def __init__(self, flat: FlatParameters, decay: float) -> None:
        self._flat, self._decay = flat, Decay(decay)
        self.data = flat.data.detach().clone()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step 0, 1, ..."""
        self.data.lerp_(self._flat.data, 1.0 - self._decay.kept(step))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the averaged weights for a while."""
        now = self._flat.data.detach().clone()
        self._flat.data.data.copy_(self.data)
        try:
            yield
        finally:
            self._flat.data.data.copy_(now)
