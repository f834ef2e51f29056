"""What a launch trains: several models on the same inputs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from roilake.training.artifacts import write_model
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context
from roilake.training.task import Settings, Task
from roilake.training.trainer import train

InputsT = TypeVar("InputsT")


@dataclass(frozen=True)
class Artifacts:
    """What a trained model's folder holds beside its weights: entries of the manifest, and files by name, each with the
    function that writes it to a path."""

    manifest: Mapping[str, Any]
    files: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry(Generic[InputsT]):
    """One model to train, as plain data: ``folder`` takes the result. On a rank, ``task(inputs)`` is called, and after
    the training ``artifacts(inputs, task, model)``."""

    folder: str
    checkpoints: str
    settings: Settings
    task: Callable[[InputsT], Task[Any]]
    artifacts: Callable[[InputsT, Any, Any], Artifacts]

    @property
    def name(self) -> str:
        return self.settings.name


@dataclass(frozen=True)
class Plan(Generic[InputsT]):
    """All that a launch trains. Plain data: it travels to the executors. ``open`` gives a rank its inputs; ``key``
    names them, for checkpoints of another key are not resumed."""

    open: Callable[[Context], InputsT]
    entries: tuple[Entry[InputsT], ...]
    key: str

    def __call__(self, context: Context) -> dict[str, dict[str, Any]]:
        """Train on this rank; rank 0 writes. Returns the figures of each model (see ``Progress.figures``)."""
        inputs = self.open(context)
        return {entry.name: self._train(entry, inputs, context) for entry in self.entries}

    def _train(self, entry: Entry[InputsT], inputs: InputsT, context: Context) -> dict[str, Any]:
        task = entry.task(inputs)
        checkpoints = Checkpoints(Path(entry.checkpoints), f"{self.key} {entry.name}")
        model, progress = train(task, context, checkpoints, entry.settings)
        figures = progress.figures(task.feed(context).rows)
        if context.rank == 0:
            extra = entry.artifacts(inputs, task, model)
            manifest = {"name": entry.name, **extra.manifest, "metrics": figures["metrics"]}
            write_model(Path(entry.folder), model.state_dict(), manifest, progress.as_curve(), extra.files)
            checkpoints.clear()
        return figures


def wait_fraction(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Part of the time of all training steps of a launch that was spent waiting for input."""
    seconds = sum(found["seconds"] for found in figures.values())
    waited = sum(found["seconds"] * found["wait_fraction"] for found in figures.values())
    return round(waited / seconds, 5) if seconds else 0.0
