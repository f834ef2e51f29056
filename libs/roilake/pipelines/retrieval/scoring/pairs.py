"""Probabilities of clicks and conversions of (user, item) pairs, from a published table of another pipeline.

Legend: P pairs, S rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.lake import DataFile

Doubles = NDArray[np.float64]


def pair_probabilities(
    files: Sequence[DataFile], user_P: NDArray[np.int32], item_P: NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """pCTR [P] and pCVR [P] of pairs of node ids, from files of table ``pair_scores``; NaN where there is none. Only
    the row groups of these users are read."""
    columns, wanted = ["user", "item", "pctr", "pcvr"], pc.field("user").isin(np.unique(user_P))
    parts = [pq.read_table(file.path, columns=columns, filters=wanted, partitioning=None) for file in files]
    rows = pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.float32()) for name in columns})
    key_S = _keys(rows["user"].to_numpy(), rows["item"].to_numpy())
    order_S = np.argsort(key_S, kind="stable")
    key_P = _keys(user_P, item_P)
    index_P = np.searchsorted(key_S[order_S], key_P)
    row_P = np.append(order_S, -1)[index_P]
    found_P = (row_P >= 0) & (np.append(key_S, -1)[row_P] == key_P)
    pctr_P, pcvr_P = (
        np.where(found_P, np.append(rows[name].to_numpy().astype(np.float64), np.nan)[row_P], np.nan)
        for name in ("pctr", "pcvr")
    )
    return pctr_P, pcvr_P


def _keys(user: NDArray, item: NDArray) -> NDArray[np.int64]:
    """One number for each pair of 31-bit ids."""
    return user.astype(np.int64) << 32 | item.astype(np.int64)


def by_expected_conversions(row_P: NDArray[np.int64], pctr_P: Doubles, pcvr_P: Doubles) -> NDArray[np.int64]:
    """Order [P] of pairs that come by (row, rank): inside a row by pctr * pcvr descending, ties and pairs without a
    probability by the rank that they had; these last."""
    expected_P = pctr_P * pcvr_P
    return np.lexsort((np.where(np.isnan(expected_P), np.inf, -expected_P), row_P))
