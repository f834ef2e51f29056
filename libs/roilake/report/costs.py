"""Where a night's time went: each step's seconds against those that it was meant to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from roilake.report.night import NightData, Row

SLOWER, SECONDS = 1.5, 10.0
"""A step is late when it took this many times what it was meant to, and this much longer."""


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
    return [_time(run, before.run(run["step"]) if before else None) for run in ordered]


def _time(run: Row, earlier: dict[str, Any] | None) -> Time:
    planned = run["details"].get("planned_seconds")
    return Time(run, earlier["seconds"] if planned is None and earlier else planned, planned is not None)
