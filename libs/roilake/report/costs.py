"""What a night's regions of interest cost and how often they were used, and where its time went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roilake.pipelines.retrieval.models import reads_regions
from roilake.report.night import Night, Row
from roilake.runtime.kinds import JOBS

SPLITS = ("train", "validation", "test", "serve")
SLOWER, SECONDS = 1.5, 10.0
"""A job is late when it took this many times what it was meant to, and this much longer."""


@dataclass(frozen=True)
class Use:
    """``count`` regions of one side and split, each read ``times`` times (on average); None where it is not known."""

    side: str
    split: str
    count: int
    times: float | None


@dataclass(frozen=True)
class Amortisation:
    """What building the regions took, set against how often they were read."""

    uses: list[Use]
    count: int
    bytes: int
    seconds: float
    details: Row

    @property
    def reads(self) -> float:
        """Reads that are known of."""
        return sum(use.count * use.times for use in self.uses if use.times is not None)

    @property
    def each(self) -> float:
        """Bytes of a region."""
        return self.bytes / self.count

    @property
    def per_million(self) -> float:
        """Seconds of the whole job for a million regions."""
        return 1e6 * self.seconds / self.count

    @property
    def anew(self) -> float:
        """Seconds that cutting a region at each read would have taken, at the same rate."""
        return self.reads * self.seconds / self.count


def amortisation(night: Night) -> Amortisation | None:
    """None for a night without regions. A training epoch reads each train request's region once, and each validation
    request's once to select; the judgement reads validation and test regions once per model, scoring those to serve
    once by the default model. Item regions likewise: all items of a window are read when it is validated, judged or
    served; training reads those that it draws, which nobody counted."""
    run = night.run("build_rois")
    if run is None or not run["rows_out"]:
        return None
    uses = [
        Use(side, split, count, _times(night, side, split))
        for (side, split), count in sorted(night.rois.items(), key=lambda entry: _place(*entry[0]))
    ]
    return Amortisation(uses, run["rows_out"], run["bytes"], run["seconds"], run["details"])


def _place(side: str, split: str) -> tuple[bool, int]:
    return side == "item", SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _times(night: Night, side: str, split: str) -> float | None:
    zooming = [name for name, model in night.config["models"].items() if reads_regions(model["kind"])]
    epochs = sum(len(night.curves.get(name, {}).get("epochs", ())) for name in zooming)
    judged = night.run("evaluate_models")
    share = 1.0 if side == "item" else judged["details"].get("share", 1.0) if judged else 0.0
    known: dict[str, float | None] = {
        "train": float(epochs) if side == "request" else None,
        "validation": epochs + len(zooming) * share if judged else float(epochs),
        "test": len(zooming) * share if judged else 0.0,
        "serve": float(night.default_model in zooming and night.run("score_requests") is not None),
    }
    return known.get(split)


def _trained(night: Night) -> list[Row]:
    """Figures of each model of each job that trains."""
    runs = [run for job in night.kind.training if (run := night.run(job))]
    return [found for run in runs for found in run["details"].get("models", {}).values()]


def waiting(night: Night) -> float | None:
    """Part of the time of all training steps that was spent waiting for input; None where nobody said."""
    runs = [run for job in night.kind.training if (run := night.run(job))]
    known = [run["details"]["wait_fraction"] for run in runs if "wait_fraction" in run["details"]]
    return max(known, default=None)


def steps_of(night: Night) -> int:
    """Training steps of all models."""
    return sum(found.get("steps", 0) for found in _trained(night))


@dataclass(frozen=True)
class Time:
    """One job: seconds spent, and those that it was meant to take: planned, or else spent the night before."""

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


def times(night: Night, before: Night | None) -> list[Time]:
    """The night's jobs in the order they ran, with what they were meant to take."""
    ordered = sorted(night.runs, key=lambda run: JOBS.index(run["job"]) if run["job"] in JOBS else len(JOBS))
    return [_time(run, before.run(run["job"]) if before else None) for run in ordered]


def _time(run: Row, earlier: dict[str, Any] | None) -> Time:
    planned = run["details"].get("planned_seconds")
    return Time(run, earlier["seconds"] if planned is None and earlier else planned, planned is not None)
