"""Draws by keyed hash: a number depends on its keys alone, never on order, partition or retry.

Legend: B requests, P positives, N negatives per request, I items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ATTEMPTS = 64
_GAMMA, _M1, _M2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def keyed_hash(*keys: ArrayLike) -> NDArray[np.uint64]:
    """Chained splitmix64 finalisers (Steele et al. 2014) of integer keys, broadcast against each other."""
    state: NDArray[np.uint64] = np.zeros((), np.uint64)
    for key in keys:
        word = np.asarray(key).astype(np.int64).view(np.uint64)
        with np.errstate(over="ignore"):
            state = (state ^ word) + _GAMMA
            state = (state ^ (state >> np.uint64(30))) * _M1
            state = (state ^ (state >> np.uint64(27))) * _M2
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*keys: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits, by ``keyed_hash``."""
    return (keyed_hash(*keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw_negatives(
    seed: int,
    request_B: NDArray[np.int64],
    positives_BP: NDArray[np.int32],
    weight_I: NDArray[np.float64],
    count: int,
) -> NDArray[np.int64]:
    """``count`` items per request [B, N], drawn with replacement with probability proportional to
    ``weight_I``, the request's positives (-1 padded) excluded by drawing again. A place that hits a positive
    in all of its 64 attempts stays -1: nothing (or next to nothing) but positives carries weight."""
    bounds_I = np.cumsum(weight_I)
    if not len(bounds_I) or bounds_I[-1] <= 0:
        return np.full((len(request_B), count), -1, np.int64)
    result_BN = np.full((len(request_B), count), -1, np.int64)
    for attempt in range(ATTEMPTS):
        row, place = np.nonzero(result_BN < 0)
        if not len(row):
            break
        chance = uniform(seed, request_B[row], place, attempt) * bounds_I[-1]
        item = np.minimum(np.searchsorted(bounds_I, chance, "right"), len(bounds_I) - 1)
        fresh = (positives_BP[row] != item[:, None]).all(axis=1)
        result_BN[row[fresh], place[fresh]] = item[fresh]
    return result_BN
