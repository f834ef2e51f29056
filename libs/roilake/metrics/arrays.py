"""What lets one definition serve numpy arrays and torch tensors: the few operations whose names differ.

``xp`` is the numpy or the torch module. Tensors stay on their device; numbers are float64."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from roilake.errors import MetricError

Array = Any
"""A numpy array or a torch tensor."""


def namespace(*values: Any) -> Any:
    """torch if any of the values is a tensor, else numpy. torch is never imported for this."""
    torch = sys.modules.get("torch")
    return torch if torch and any(isinstance(value, torch.Tensor) for value in values) else np


def floats(values: Any, like: Any = None, name: str = "values") -> Array:
    """As float64; a tensor if ``values`` or ``like`` is one, on the device of the latter or else of the former.
    MetricError, which calls them ``name``, for what are no numbers; null becomes NaN."""
    return _typed(values, like, "float64", name)


def integers(values: Any, like: Any = None, name: str = "values") -> Array:
    """As int64, as ``floats`` does."""
    return _typed(values, like, "int64", name)


def _typed(values: Any, like: Any, kind: str, name: str) -> Array:
    xp = namespace(values, like)
    if namespace(values) is np:
        values = _numbers(values, kind, name)
    if xp is np:
        return values
    device = like.device if namespace(like) is xp else values.device
    return xp.as_tensor(values, dtype=getattr(xp, kind), device=device)


def _numbers(values: Any, kind: str, name: str) -> np.ndarray:
    """An array of that kind. Texts are refused even where they could be read as numbers."""
    try:
        found = np.asarray(values)
        if found.dtype.kind in "biuf" or not any(isinstance(each, str | bytes) for each in found.ravel().tolist()):
            return np.asarray(found, kind)
    except (TypeError, ValueError) as error:
        raise MetricError(f"{name} must be numbers: {error}") from error
    raise MetricError(f"{name} must be numbers, not texts")


def filled(shape: tuple[int, ...], value: float, like: Array) -> Array:
    """An array of one value, of the type and on the device of ``like``."""
    return np.full(shape, value, like.dtype) if namespace(like) is np else like.new_full(shape, value)


def order(values: Array) -> Array:
    """Indices that sort ``values`` ascending, equal ones in the order that they have."""
    xp = namespace(values)
    return np.argsort(values, kind="stable") if xp is np else xp.argsort(values, stable=True)


def sums(index: Array, values: Array, size: int) -> Array:
    """Sum of the values of each index 0..size-1."""
    return namespace(values).bincount(index, weights=values, minlength=size)


def counts(index: Array, size: int) -> Array:
    """How often each index 0..size-1 occurs."""
    return namespace(index).bincount(index, minlength=size)


def runs(values: Array) -> Array:
    """Number 0, 1, ... of the run of equal entries that each entry belongs to."""
    xp = namespace(values)
    new = xp.zeros_like(values, dtype=xp.int64)
    new[1:] = values[1:] != values[:-1]
    return xp.cumsum(new, 0)


def host(values: Array) -> np.ndarray:
    """As a numpy array."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
