"""All parameters of a model as one vector: one allreduce and one optimizer step, whatever the number of layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roilake.training.context import Context


class FlatParameters:
    """Moves the parameters of ``model`` into one float32 vector [n] that they stay views of; gradients likewise.

    The gradient's buffer has two more places, for the sums of the loss and of the weights, so that one allreduce of
    the step carries all that ranks must add up.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in parameters]
        self.data = nn.Parameter(torch.cat([parameter.detach().reshape(-1).float() for parameter in parameters]))
        self._buffer = torch.zeros(len(self.data) + 2, device=self.data.device)
        self.data.grad = self._buffer[:-2]
        views = zip(self.data.detach().split(sizes), self.data.grad.split(sizes), parameters, strict=True)
        for data, grad, parameter in views:
            parameter.data = data.view_as(parameter)
            parameter.grad = grad.view_as(parameter)

    def zero_grad(self) -> None:
        self._buffer.zero_()

    def reduce(self, context: Context, loss_sum: Tensor, weight_sum: Tensor) -> float:
        """Add gradients (of the *sum* of the weighted losses) and sums over all ranks, and divide by the sum of the
        weights: the gradient and the value of the weighted mean over the global batch."""
        self._buffer[-2], self._buffer[-1] = loss_sum.detach(), weight_sum
        context.allreduce(self._buffer)
        self._buffer[:-1] /= self._buffer[-1]
        return float(self._buffer[-2])
