"""Negatives of a request, drawn by keyed hash.

Legend: B requests, P positives, N negatives per request, I items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import uniform

ATTEMPTS = 64


def draw_negatives(
    seed: int, request_B: NDArray[np.int64], positives_BP: NDArray[np.int32], weight_I: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """``count`` items per request [B, N], drawn with replacement with probability proportional to
    ``weight_I``, the request's positives (-1 padded) excluded by drawing again. A draw that hits a positive
    in all of its 64 attempts stays -1: nothing (or next to nothing) but positives carries weight."""
    bounds_I = np.cumsum(weight_I)
    if not len(bounds_I) or bounds_I[-1] <= 0:
        return np.full((len(request_B), count), -1, np.int64)
    result_BN = np.full((len(request_B), count), -1, np.int64)
    for attempt in range(ATTEMPTS):
        row, index = np.nonzero(result_BN < 0)
        if not len(row):
            break
        chance = uniform(seed, request_B[row], index, attempt) * bounds_I[-1]
        item = np.minimum(np.searchsorted(bounds_I, chance, "right"), len(bounds_I) - 1)
        fresh = (positives_BP[row] != item[:, None]).all(axis=1)
        result_BN[row[fresh], index[fresh]] = item[fresh]
    return result_BN
