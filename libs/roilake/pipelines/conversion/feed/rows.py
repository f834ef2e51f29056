"""Impressions as numpy columns, and endless, reshuffled passes over them.

Legend of shape suffixes: R rows held, B rows of a batch, F categorical fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from roilake.pipelines.conversion.models import ImpressionBatch

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ImpressionRows:
    """Columns of impressions. ``key_R`` identifies a row: the order of a pass depends on nothing else."""

    row_RF: NDArray[np.int32]  # row in each field's table, -1 missing
    click_R: NDArray[np.float32]
    conversion_R: NDArray[np.float32]  # 0 where not clicked
    inverse_rate_R: NDArray[np.float32]  # 1 / sampling rate
    propensity_R: NDArray[np.float32]  # NaN where unknown
    pseudo_R: NDArray[np.float32]  # NaN where there is none
    key_R: NDArray[np.uint64]

    @classmethod
    def of(
        cls,
        rows: ArrayLike,
        click: ArrayLike,
        conversion: ArrayLike,
        *,
        sampling_rate: ArrayLike | None = None,
        propensity: ArrayLike | None = None,
        pseudo: ArrayLike | None = None,
        key: ArrayLike | None = None,
    ) -> ImpressionRows:
        """From arrays: ``rows`` [R, F], all others [R]; what is left out is 1, unknown, none and the row number."""
        row_RF = np.asarray(rows, np.int32)
        size = len(row_RF)

        def column(values: ArrayLike | None, default: float) -> NDArray[np.float32]:
            return np.full(size, default, np.float32) if values is None else np.asarray(values, np.float32)

        click_R = column(click, 0)
        return cls(
            row_RF,
            click_R,
            np.where(click_R > 0, np.nan_to_num(column(conversion, 0)), np.float32(0)),
            1 / column(sampling_rate, 1),
            column(propensity, np.nan),
            column(pseudo, np.nan),
            np.arange(size, dtype=np.uint64) if key is None else np.asarray(key, np.uint64),
        )

    @classmethod
    def none(cls, fields: int) -> ImpressionRows:
        """No row at all."""
        return cls.of(np.empty((0, fields)), [], [])

    def __len__(self) -> int:
        return len(self.key_R)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def at(self, rows: Any) -> ImpressionRows:
        """Some of the rows."""
        return ImpressionRows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def batch(self, weight_B: NDArray[np.float32] | None = None) -> ImpressionBatch:
        """All rows as a batch; weights are the inverse sampling rates unless given."""
        weight_B = self.inverse_rate_R if weight_B is None else weight_B
        columns = (self.click_R, self.conversion_R, weight_B, self.propensity_R, self.pseudo_R)
        rows_BF = torch.from_numpy(self.row_RF.astype(np.int64))
        return ImpressionBatch(rows_BF, *(torch.from_numpy(np.ascontiguousarray(c)) for c in columns))


def concatenate(parts: Sequence[ImpressionRows]) -> ImpressionRows:
    """The rows of all parts, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(ImpressionRows)]
    return ImpressionRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
