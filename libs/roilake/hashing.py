"""Keyed hashes: a number depends on its keys alone, never on order, partition or retry."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
