"""The dense parameters of an optimizer as one vector: one allreduce and one step, however many layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.sparse import BETAS, EPSILON, Decay, replaced


class DenseParameters:
    """Parameters as one float32 vector ``data`` [n] that they stay views of, gradients likewise; Adam; and the
    exponential average over steps a <- a + (1 - m) (w - a), m as ``Decay`` says, which evens out what the last steps
    pull (Polyak and Juditsky 1992)."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float, weight_decay: float = 0.0) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        vector = nn.Parameter(torch.cat([p.detach().reshape(-1).float() for p in parameters]))
        self.data, self.gradient = vector.detach(), torch.zeros_like(vector.detach())
        vector.grad = self.gradient
        views = zip(self.data.split(sizes), self.gradient.split(sizes), parameters, strict=True)
        for data, grad, parameter in views:
            parameter.data, parameter.grad = data.view_as(parameter), grad.view_as(parameter)
        self._vector, self._decay, self._average = vector, Decay(decay), self.data.clone()
        self._adam = torch.optim.Adam([vector], betas=BETAS, eps=EPSILON, weight_decay=weight_decay, fused=True)

    def zero_grad(self) -> None:
        self.gradient.zero_()

    def reduce(self, context: Context) -> None:
        """Sum the gradient over all ranks."""
        context.allreduce(self.gradient)

    def step(self, step: int, rate: float) -> None:
        """Step 0, 1, ..."""
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._average.lerp_(self.data, 1.0 - self._decay.kept(step))

    def averaged(self, step: int) -> AbstractContextManager[None]:
        """Let the parameters be their averages for a while."""
        return replaced(self.data, self._average)

    def state(self) -> dict[str, Tensor]:
        """All beside ``data`` that the next step depends on."""
        return {"average": self._average, **self._adam.state[self._vector]}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put ``state`` back."""
        self._average.copy_(state["average"])
        device = self.data.device
        self._adam.state[self._vector] = {k: v.to(device) for k, v in state.items() if k != "average"}
