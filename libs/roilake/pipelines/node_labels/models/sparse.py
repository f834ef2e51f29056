"""Products of a sparse with a dense matrix, whose values may learn both.

Legend of shape suffixes: R rows and C columns of the sparse matrix, E its values, D width of the dense one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pattern:
    """Where a sparse matrix [R, C] has its values, in order of (row, column)."""

    start_R1: Tensor  # int64: the values of row r are those from start[r] to start[r + 1]
    column_E: Tensor  # int64
    columns: int

    @classmethod
    def of(cls, row_E: Tensor, column_E: Tensor, rows: int, columns: int) -> Pattern:
        """Of the indices of the values, in order of (row, column)."""
        counts_R = torch.bincount(row_E, minlength=rows)
        return cls(torch.cat([counts_R.new_zeros(1), counts_R.cumsum(0)]), column_E.contiguous(), columns)

    @property
    def rows(self) -> int:
        """R."""
        return len(self.start_R1) - 1

    @cached_property
    def row_E(self) -> Tensor:
        """The row of each value."""
        return torch.arange(self.rows, device=self.column_E.device).repeat_interleave(self.start_R1.diff())

    @cached_property
    def transposed(self) -> tuple[Pattern, Tensor]:
        """The pattern of the transposed matrix, and which value stands where in it [E]."""
        order_E = self.column_E.argsort(stable=True)
        return Pattern.of(self.column_E[order_E], self.row_E[order_E], self.columns, self.rows), order_E

    @cached_property
    def mean_E(self) -> Tensor:
        """1 / d_i, d_i the number of values of row i: the product with them is a row's mean, 0 of an empty row."""
        return self.start_R1.diff()[self.row_E].float().reciprocal()

    @cached_property
    def symmetric_E(self) -> Tensor:
        """(d_i d_j)^-1/2 of a symmetric pattern."""
        scale_R = self.start_R1.diff().clamp(min=1).float().rsqrt()
        return scale_R[self.row_E] * scale_R[self.column_E]

    def matrix(self, value_E: Tensor) -> Tensor:
        """The sparse matrix as torch has it (CSR)."""
        size = (self.rows, self.columns)
        return torch.sparse_csr_tensor(self.start_R1, self.column_E, value_E, size, check_invariants=False)

    def product(self, value_E: Tensor, dense_CD: Tensor) -> Tensor:
        """sum_j S_ij x_j [R, D] with S of these values; gradients reach both. In float32 under mixed precision too."""
        with torch.autocast(dense_CD.device.type, enabled=False):
            found: Tensor = _Product.apply(value_E.float(), dense_CD.float(), self)  # type: ignore[no-untyped-call]
        return found


class _Product(torch.autograd.Function):
    """torch's own products transpose a matrix anew in every step: some ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, value_E: Tensor, dense_CD: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(value_E, dense_CD)
        ctx.pattern = pattern
        return _multiplied(pattern, value_E, dense_CD)

    @staticmethod
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        value_E, dense_CD = ctx.saved_tensors
        grad_RD, value_grad, dense_grad = grad_RD.contiguous(), None, None
        if ctx.needs_input_grad[0]:
            nothing = ctx.pattern.matrix(torch.zeros_like(value_E))
            value_grad = torch.sparse.sampled_addmm(nothing, grad_RD, dense_CD.t(), beta=0.0).values()
        if ctx.needs_input_grad[1]:
            transposed, order_E = ctx.pattern.transposed
            dense_grad = _multiplied(transposed, value_E[order_E], grad_RD)
        return value_grad, dense_grad, None


def _multiplied(pattern: Pattern, value_E: Tensor, dense_CD: Tensor) -> Tensor:
    matrix = pattern.matrix(value_E)
    if matrix.is_cuda:
        return matrix @ dense_CD
    return torch.sparse.mm(matrix, dense_CD.contiguous(), "sum")  # type: ignore[call-arg] # four times as fast as @
