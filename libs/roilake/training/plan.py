"""What a launch trains: several models on the same inputs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from roilake.config import ModelConfig
from roilake.training.artifacts import write_model
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context
from roilake.training.task import Settings, Task
from roilake.training.trainer import train

InputsT = TypeVar("InputsT")


Artifacts = tuple[dict[str, Any], dict[str, Callable[[Path], object]]]
"""What a trained model's folder holds beside its weights: entries of the manifest, and files by name, each with the
function that writes it to a path."""


@dataclass(frozen=True)
class Entry(Generic[InputsT]):
    """One model to train, as plain data: ``folder`` takes the result. On a rank, ``task(inputs)`` is called, and after
    the training ``artifacts(inputs, task, model, folder)``. ``parents`` says what the model is made of."""

    folder: str
    checkpoints: str
    config: ModelConfig
    settings: Settings
    task: Callable[[InputsT], Task[Any]]
    artifacts: Callable[..., Artifacts]
    parents: Mapping[str, Any] = field(default_factory=dict)


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
        return {entry.settings.name: self._train(entry, inputs, context) for entry in self.entries}

    def _train(self, entry: Entry[InputsT], inputs: InputsT, context: Context) -> dict[str, Any]:
        """Train one model on this rank; rank 0 writes its folder. Returns its figures."""
        task, name = entry.task(inputs), entry.settings.name
        checkpoints = Checkpoints(Path(entry.checkpoints), f"{self.key} {name}")
        model, progress = train(task, context, checkpoints, entry.settings)
        figures = progress.figures(task.feed(context).rows)
        if context.rank == 0:
            extra, files = entry.artifacts(inputs, task, model, entry.folder)
            curve = {"steps": progress.curve, "validations": progress.validations, "best": progress.best}
            known = {"name": name, "model": entry.config.model_dump(mode="json"), "seed": entry.settings.seed}
            manifest = {**known, **extra, "metrics": figures["metrics"]}
            write_model(Path(entry.folder), model.state_dict(), manifest, curve, files)
            checkpoints.clear()
        return figures
