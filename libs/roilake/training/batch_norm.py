"""Batch normalisation over the batches of all ranks (``torch.nn.SyncBatchNorm`` needs ``torch.distributed``).

Legend: C channels.
"""

from __future__ import annotations

from typing import Any, cast

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
        """By the moments of all ranks' batches in training, which move the running ones; else by those."""
        mean, variance, shape = self.running_mean, self.running_var, [1, -1, *[1] * (input.ndim - 2)]
        if not self.training and mean is not None:
            return F.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)
        # In double precision, in which the difference of two squares is exact enough
        exact, axes = input.double(), [axis for axis in range(input.ndim) if axis != 1]
        count = exact.new_tensor([input.numel() / input.shape[1]])
        local = torch.cat([exact.sum(axes), exact.square().sum(axes), count])
        sums = AllReduce.apply(local, self._context)  # type: ignore[no-untyped-call]
        mean_C, square_C = (sums[:-1] / sums[-1]).chunk(2)
        variance_C = (square_C - mean_C.square()).clamp(min=0)
        if self.training and mean is not None and variance is not None:
            batches = cast(Tensor, self.num_batches_tracked)
            batches += 1
            momentum = 1.0 / float(batches) if self.momentum is None else self.momentum
            unbiased_C = variance_C * sums[-1] / (sums[-1] - 1)
            mean.lerp_(mean_C.detach().float(), momentum)
            variance.lerp_(unbiased_C.detach().float(), momentum)
        normal = (input - mean_C.float().view(shape)) * (variance_C.float() + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)


def convert_batch_norm(model: nn.Module, context: Context) -> nn.Module:
    """The model with a ``SyncBatchNorm`` in place of every batch normalisation; as it is on a single rank."""
    if context.workers == 1 or isinstance(model, SyncBatchNorm):
        return model
    if isinstance(model, _BatchNorm):
        return SyncBatchNorm(model, context)
    for name, child in model.named_children():
        setattr(model, name, convert_batch_norm(child, context))
    return model
