"""Names of slices that every pipeline writes. A slice ``NAME=VALUE``, or of another name, is a group of rows."""

from __future__ import annotations

ALL = "all"
LEAKAGE_CHECK = "leakage_check"
"""Holds metrics of shuffled labels."""
_DELTA = "delta_vs_"
"""What slices of differences begin with: nights of older versions named the model behind it."""
BINS = "calibration bin "
"""What the slices of the calibration curve begin with."""


def delta_vs_default(name: str = ALL) -> str:
    """The slice of paired differences to the model that serves the night, on the rows of slice ``name``:
    ``delta_vs_default`` on all, ``delta_vs_default on NAME`` on others. It is named alike on every night, whichever
    model that is."""
    return f"{_DELTA}default" if name == ALL else f"{_DELTA}default on {name}"


def is_delta(name: str) -> bool:
    """Whether a slice holds differences."""
    return name.startswith(_DELTA)


def calibration_bin(number: int) -> str:
    """The slice of a bin of the calibration curve, from 1."""
    return f"{BINS}{number:02d}"


def is_group(name: str) -> bool:
    """Whether a slice is a group of rows: not all of them, a difference, a bin or a leakage check."""
    return name not in (ALL, LEAKAGE_CHECK) and not name.startswith((_DELTA, BINS))
