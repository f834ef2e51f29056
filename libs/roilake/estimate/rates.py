"""What a unit of a step's work costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Measured:
    """One earlier run of a step: its work (see ``retrieval.estimate.volumes``), seconds, bytes written, and peak memory
    (0 where it is not known)."""

    work: float
    seconds: float
    bytes: float
    memory: float = 0.0


@dataclass(frozen=True)
class Rate:
    """Of one step, with w its work: seconds = fixed + each * w; bytes written = bytes * w; bytes on disk beside those
    while it runs = scratch * w, and after it = left * w; memory in bytes, all processes = memory_fixed +
    memory_each * w."""

    fixed: float
    each: float
    bytes: float
    scratch: float
    memory_fixed: float
    memory_each: float
    origin: str
    left: float = 0.0

    def seconds(self, work: float) -> float:
        """How long so much work takes."""
        return self.fixed + self.each * work

    def memory(self, work: float) -> float:
        """Bytes that all processes together hold at so much work."""
        return self.memory_fixed + self.memory_each * work

    def fitted(self, runs: Sequence[Measured]) -> Rate:
        """The rate that the runs have measured: ``_corrected`` lines of seconds and of memory, and the bytes of the
        last run."""
        if not runs:
            return self
        work = np.array([run.work for run in runs])
        fixed, each = _corrected(self.fixed, self.each, work, np.maximum([run.seconds for run in runs], 1e-3))
        memory = self.memory_fixed, self.memory_each
        known = [run for run in runs if run.memory]
        if known:
            memory = _corrected(*memory, np.array([run.work for run in known]), np.array([run.memory for run in known]))
        last = runs[-1]
        size = last.bytes / last.work if last.work else self.bytes
        return replace(
            self,
            fixed=fixed,
            each=each,
            bytes=size,
            memory_fixed=memory[0],
            memory_each=memory[1],
            origin=_nights(len(runs)),
        )


def _corrected(fixed: float, each: float, work: np.ndarray, spent: np.ndarray) -> tuple[float, float]:
    """(fixed, each) of the line through what was spent, by least squares of the relative error, where work differs by
    half or more and the line rises from above 0. Else the known line, the larger part of which takes up the mean
    difference: what stands behind it is best known; both parts in proportion where that would turn it negative."""
    if work.max() >= 1.5 * work.min() > 0:
        slope, start = np.polyfit(work, spent, 1, w=1 / spent)
        if slope > 0 and start > 0:
            return float(start), float(slope)
    mean, there = float(work.mean()), float(spent.mean())
    if fixed >= each * mean and there > each * mean:
        return there - each * mean, each
    if fixed < each * mean and there > fixed:
        return fixed, (there - fixed) / mean
    factor = there / (fixed + each * mean)
    return factor * fixed, factor * each


def _nights(count: int) -> str:
    return f"{count} earlier night{'s' if count > 1 else ''} of this lake"
