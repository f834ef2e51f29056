"""Seen items from plain pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.seen import Had, Seen


def seen_pairs(row_E: NDArray[np.int64], item_E: NDArray[np.int64], requests: int) -> Seen:
    """As if request r were of user r, who had these items long before."""
    had = Had.of(Histories.of(row_E, np.zeros_like(row_E), item_E, np.full_like(row_E, -1)))
    return had.before(np.arange(requests), np.ones(requests, np.int64))
