"""Batch normalisation over the batches of all ranks (``torch.nn.SyncBatchNorm`` needs ``torch.distributed``).

Legend: C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from roilake.training.context import Context


class AllReduce(torch.autograd.Function):
    """y = sum of x over all ranks. The loss is the sum of all ranks' parts, and each of them sees y: so
    dL/dx = sum over all ranks of dL/dy."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, context: Context) -> Tensor:
        ctx.context, summed = context, values.clone()
        context.allreduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        ctx.context.allreduce(summed)
        return summed, None


class SyncBatchNorm(_BatchNorm):
    """``nn.BatchNorm1d`` / ``2d`` / ``3d`` whose mean and variance are those of all ranks' batches. Takes over the
    parameters, buffers and options of ``norm``, so its state has the same keys. Input [B, C, *]."""

    def __init__(self, norm: _BatchNorm, context: Context) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(norm.__dict__)
        self._context = context

    def forward(self, input: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        mean_C, variance_C, count = self._moments(input)
        if self.training and self.running_mean is not None:
            self._update(mean_C.detach(), variance_C.detach(), count)
        scale_C = (variance_C + self.eps).rsqrt()
        scale_C = scale_C if self.weight is None else scale_C * self.weight
        normal = (input - _wide(mean_C, input)) * _wide(scale_C, input)
        return (normal if self.bias is None else normal + _wide(self.bias, input)).to(input.dtype)

    def _moments(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [C] and biased variance [C] over the values of all ranks, and their number. Sums are in double
        precision, in which the difference of two squares is exact enough."""
        exact, axes = input.double(), [axis for axis in range(input.ndim) if axis != 1]
        count = exact.new_tensor([input.numel() / input.shape[1]])
        local = torch.cat([exact.sum(axes), exact.square().sum(axes), count])
        sums: Tensor = AllReduce.apply(local, self._context)  # type: ignore[no-untyped-call]
        sum_C, square_C = sums[:-1].chunk(2)
        mean_C = sum_C / sums[-1]
        variance_C = (square_C / sums[-1] - mean_C.square()).clamp(min=0)
        return mean_C.float(), variance_C.float(), sums[-1].detach()

    @torch.no_grad()
    def _update(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, momentum)
        self.running_var.lerp_((variance_C * (count / (count - 1))).float(), momentum)


def convert_batch_norm(model: nn.Module, context: Context) -> nn.Module:
    """The model with a ``SyncBatchNorm`` in place of every batch normalisation; as it is on a single rank."""
    if context.workers == 1 or isinstance(model, SyncBatchNorm):
        return model
    if isinstance(model, _BatchNorm):
        return SyncBatchNorm(model, context)
    for name, child in model.named_children():
        setattr(model, name, convert_batch_norm(child, context))
    return model


def _wide(values_C: Tensor, like: Tensor) -> Tensor:
    """[C] as [1, C, 1, ...]."""
    return values_C.view(1, -1, *[1] * (like.ndim - 2))
