"""Rows of all ranks together, through which gradients flow back to where a row came from.

Legend: n rows of this rank, Q of all ranks."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from roilake.training.context import Context


class AllGather(Function):
    """y [Q, *] = the rows x [n, *] of all ranks, one rank's behind the other's; each rank has as many. The loss is the
    sum of all ranks' parts, and each of them sees y: so dL/dx = the own rows of the sum over all ranks of dL/dy."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, context: Context) -> Tensor:
        ctx.context, ctx.rows = context, len(rows)
        return context.allgather(rows.contiguous())[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed, first = gradients[0].contiguous().clone(), ctx.context.rank * ctx.rows
        ctx.context.allreduce(summed)
        return summed[first : first + ctx.rows], None


def all_gather(rows: Tensor, context: Context) -> Tensor:
    """``AllGather``; on a single rank the rows themselves."""
    gathered: Tensor = AllGather.apply(rows, context) if context.workers > 1 else rows  # type: ignore[no-untyped-call]
    return gathered
