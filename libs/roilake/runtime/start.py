"""What a process costs before its first step works: Python's imports, and the start of Spark's JVM. A night in one
process pays it once, one of separate steps with each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_owed = 0.0


@contextmanager
def of_this_process() -> Iterator[None]:
    """This process was started to run steps: the first one in the block accounts for what has passed since."""
    global _owed
    _owed = time.time() - psutil.Process().create_time()
    try:
        yield
    finally:
        _owed = 0.0


def owe(seconds: float) -> None:
    """So long something has started that the next account is to hold."""
    global _owed
    _owed += seconds


def take() -> float:
    """Seconds that are in no account yet; they are now."""
    global _owed
    taken, _owed = _owed, 0.0
    return taken
