"""How a graph is built: which pairs are summed up, and how time enters their sums.

Sums are whole numbers that do not depend on the night that counts them, so those of earlier nights are taken as they
are, and a night adds its own events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roilake.errors import RoilakeError
from roilake.pipelines.retrieval.graph import kernel

STREAMS = (("user", "item"), ("user", "query"), ("item", "query"), ("item", "item"))
"""Source and target of the pairs of an event; items of adjacent events of a session are one pair, smaller id first.
A pair is summed up once for both its directions: a stream is named after its first one."""

_DAY = 86_400_000_000  # microseconds
_UNITS = 2.0**26  # of weight 1, at a landmark
_PERIOD = 6  # half-lives from landmark to landmark
_ANCIENT = 42  # half-lives before the first instant: what is older weighs less than 2^-41, so nothing


@dataclass(frozen=True)
class TimeCuts:
    """Points of time ``at_C`` (microseconds, ascending) between which contributions of events are summed up: an event
    belongs to the first cut after it.

    At landmarks l_k = 6 k h (h the half-life, k whole) units change: an event at t counts rint(2^26 * 2^((t - l) / h))
    units, l the last landmark before its cut. Units of landmark k are worth 2^(6 (k - k')) of those of a later one k',
    and S units weigh S * 2^-26 * 2^(-(T - l) / h) at the instant T: the sum over events of 2^(-(T - t) / h)."""

    at_C: kernel.Longs
    period: int
    first: int  # microseconds: no event is before it

    @classmethod
    def of(cls, instants: Sequence[date], half_life_days: float, first: int) -> TimeCuts:
        """Cuts at the instants, and since ``first`` at the midnights between them (at which later nights may have
        theirs) and at the landmarks, but for those before which nothing has a weight any more."""
        at = micros(instants)
        period = round(_PERIOD * half_life_days * _DAY)
        since = max(first, int(at[0]) - _ANCIENT * period // _PERIOD)
        midnights, landmarks = (
            np.arange(start // step + 1, -(-int(at[-1]) // step)) * step
            for start, step in ((max(first, int(at[0])), _DAY), (since, period))
        )
        return cls(np.unique(np.concatenate([at, midnights, landmarks])), period, first)

    @cached_property
    def landmark_C(self) -> kernel.Longs:
        """Number of the last landmark before each cut."""
        return (self.at_C - 1) // self.period

    def find(self, time_N: kernel.Longs) -> kernel.Longs:
        """Number of the cut that each event belongs to; the number of cuts for those after the last one."""
        return np.searchsorted(self.at_C, time_N, side="right")

    def units(self, time_N: kernel.Longs, cut_N: kernel.Longs) -> kernel.Words:
        """What events count, in units at their landmarks."""
        since = time_N - self.landmark_C[cut_N] * self.period
        return np.rint(np.exp2(since * (_PERIOD / self.period)) * _UNITS).astype(np.uint64)

    def decay(self, now: int) -> kernel.Floats:
        """What a unit of each cut is worth in units of cut ``now``, which is not before it."""
        return np.ldexp(1.0, np.minimum(_PERIOD * (self.landmark_C - self.landmark_C[now]), 0))

    def scale(self, now: int) -> float:
        """What a unit of cut ``now`` weighs then."""
        since = int(self.at_C[now] - self.landmark_C[now] * self.period)
        return float(np.exp2(-since * (_PERIOD / self.period)) / _UNITS)

    def holds(self, earlier: TimeCuts) -> bool:
        """Whether sums between ``earlier`` cuts can be used between these: none of these parts them."""
        inside = self.at_C[(self.at_C > earlier.first) & (self.at_C < earlier.at_C[-1])]
        whole = bool(np.isin(inside, earlier.at_C).all() and earlier.at_C[-1] <= self.at_C[-1])
        return self.period == earlier.period and whole

    def converted(self, earlier: TimeCuts) -> tuple[kernel.Longs, kernel.Floats]:
        """The cut here of each of the ``earlier`` ones, and what its units are worth here. Only of ancient cuts, which
        weigh nothing at any instant, does the landmark change."""
        cut = np.searchsorted(self.at_C, earlier.at_C)
        return cut, np.ldexp(1.0, _PERIOD * (earlier.landmark_C - self.landmark_C[cut]))


@dataclass(frozen=True)
class Runs:
    """Runs of sums in ``folder``, by stream, with all that it takes to read them."""

    folder: Path
    nodes: Mapping[str, int]
    cuts: TimeCuts

    def key(self, stream: tuple[str, str]) -> kernel.Key:
        """Raises RoilakeError when a pair's key does not fit 64 bits."""
        source, target = (max(self.nodes[kind] - 1, 0).bit_length() for kind in stream)
        key = kernel.Key((len(self.cuts.at_C) - 1).bit_length(), target, source)
        if key.bits > 64:
            raise RoilakeError(
                f"build_graph: {'_'.join(stream)} pairs at {len(self.cuts.at_C)} days and landmarks need {key.bits} "
                "bits, of 64; plan fewer or shorter windows, or a longer half-life"
            )
        return key


@dataclass(frozen=True)
class Plan:
    """How a graph is built. ``folder`` holds what is spilled; ``nodes`` counts nodes by type; ``timed`` sums keep the
    first and last time of their events; ``snapshots`` are sums of earlier nights; a ``compacting`` build writes all
    sums anew, as one run for each part."""

    folder: Path
    ds: date
    instants: tuple[date, ...]
    half_life_days: float
    max_neighbours: int
    nodes: Mapping[str, int]
    parts: int
    timed: bool
    first: int  # see ``TimeCuts``
    snapshots: tuple[Runs, ...] = ()
    compacting: bool = False

    @property
    def width(self) -> int:
        """Words of a record."""
        return 4 if self.timed else 2

    @cached_property
    def own(self) -> Runs:
        """What the build itself spills."""
        return Runs(self.folder / "runs", self.nodes, TimeCuts.of(self.instants, self.half_life_days, self.first))

    @property
    def compacted(self) -> Path:
        """Where a ``compacting`` build writes all sums."""
        return self.folder / "compacted"

    def layout(self, runs: Runs, stream: tuple[str, str]) -> kernel.Layout:
        """How ``runs`` are read between this plan's cuts."""
        return kernel.Layout(runs.key(stream), *self.own.cuts.converted(runs.cuts))

    def spread(self, kind: str) -> NDArray[np.uint8] | None:
        """Over how many parts each source is spread; None when there is no hub."""
        file = self.folder / f"spread-{kind}.npy"
        return np.load(file, mmap_mode="r") if file.exists() else None


def micros(instants: Sequence[date]) -> NDArray[np.int64]:
    """Midnights (UTC) as microseconds."""
    return np.array(instants, "datetime64[us]").astype(np.int64)
