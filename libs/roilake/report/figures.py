"""Figures of a night against those of an earlier one: rows, and each step's seconds beside those that it was meant to
take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from roilake.report.formatting import percent
from roilake.report.night import NightData, Row

SLOWER, SECONDS = 1.5, 10.0
"""A step is late when it took this many times what it was meant to, and this much longer."""


@dataclass(frozen=True)
class Count:
    """A count of this night beside that of an earlier one (None where there is none)."""

    name: str
    now: int
    before: int | None

    @property
    def change(self) -> str:
        """In per cent, or as a factor where that reads better; empty where there is nothing to compare with."""
        if self.now == self.before:
            return "same"
        if not self.before:
            return ""
        ratio = self.now / self.before
        if ratio >= 3:
            return f"× {ratio:.1f}"
        if 0 < ratio < 0.1:
            return f"÷ {1 / ratio:.0f}"
        return f"{'+' if ratio > 1 else '−'}{percent(abs(ratio - 1), 1 if abs(ratio - 1) < 0.1 else 0)}"


def counts(now: Mapping[str, int], before: Mapping[str, int] | None) -> list[Count]:
    """A count by name, beside the earlier one of that name."""
    return [Count(name, count, (before or {}).get(name)) for name, count in now.items()]


def table_counts(night: NightData, before: NightData | None) -> list[Count]:
    """The night's own rows of each table."""
    return counts(dict(sorted(night.rows.items())), before.rows if before else None)


def rejected(night: NightData) -> int:
    """Rows in quarantine."""
    return sum(bad["rows"] for bad in night.quarantine)


def _training(night: NightData) -> Iterator[Row]:
    """The details of the steps that train."""
    runs = (night.run(step.name) for step in night.pipeline.steps if step.trains)
    return (run["details"] for run in runs if run)


def waiting(night: NightData) -> float | None:
    """Part of the time of all training steps that was spent waiting for input; None where it is not known."""
    known = [details["wait_fraction"] for details in _training(night) if "wait_fraction" in details]
    return max(known, default=None)


def training_steps(night: NightData) -> int:
    """Optimiser steps of all models."""
    figures = (found for details in _training(night) for found in details.get("models", {}).values())
    return sum(found.get("steps", 0) for found in figures)


@dataclass(frozen=True)
class Time:
    """One step: seconds spent, and those that it was meant to take: planned, or else spent the night before."""

    run: Row
    meant: float | None
    planned: bool

    @property
    def seconds(self) -> float:
        return float(self.run["seconds"])

    @property
    def late(self) -> bool:
        if self.meant is None:
            return False
        return self.seconds > SLOWER * self.meant and self.seconds - self.meant > SECONDS


def times(night: NightData, before: NightData | None) -> list[Time]:
    """The night's steps in their order, with what they were meant to take."""
    order = {name: index for index, name in enumerate(night.pipeline.step_names)}
    ordered = sorted(night.runs, key=lambda run: order.get(run["step"], len(order)))
    found = []
    for run in ordered:
        planned, earlier = run["details"].get("planned_seconds"), before.run(run["step"]) if before else None
        meant = earlier["seconds"] if planned is None and earlier else planned
        found.append(Time(run, meant, planned is not None))
    return found
