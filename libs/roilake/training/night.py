"""The models of a night, one after the other on the same inputs: where they lie, their training, and their rows of
table ``models``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from roilake.config import ModelConfig
from roilake.lake import TABLES, model_folder
from roilake.training.artifacts import write_model
from roilake.training.context import Context
from roilake.training.launchers import launch
from roilake.training.progress import Checkpoints
from roilake.training.task import Settings, Task
from roilake.training.trainer import train

if TYPE_CHECKING:
    from roilake.runtime.step import Recorder

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


def make_entry(
    record: Recorder,
    config: ModelConfig,
    settings: Settings,
    task: Callable[[InputsT], Task[Any]],
    artifacts: Callable[..., Artifacts],
    **parents: Any,
) -> Entry[InputsT]:
    """An entry whose folders are those of the night's run on what it has read. ``parents`` says what the model is made
    of."""
    lake, run, name = record.lake, record.run, settings.name
    # Of models the step's own rows are read too; those that a model is made of are among its parents.
    contents = {table: content for table, content in record.contents().items() if table != "models"}
    inputs = hashlib.sha256(repr((contents, record.upstreams, parents)).encode()).hexdigest()[:8]
    folder = lake.files.local(model_folder(run.pipeline, name, run.ds, run.run_id, inputs))
    checkpoints = lake.lasting(run.step) / f"{run.run_id}-{name}"
    return Entry(str(folder), str(checkpoints), config, settings, task, artifacts, parents)


def make_plan(record: Recorder, open: Callable[[Context], InputsT], entries: Sequence[Entry[InputsT]]) -> Plan[InputsT]:
    """A plan whose checkpoints are resumed by the same run on the same versions of its tables."""
    inputs = (record.run.run_id, sorted(record.run.inputs.items()), [entry.parents for entry in entries])
    return Plan(open, tuple(entries), hashlib.sha256(repr(inputs).encode()).hexdigest()[:16])


def train_models(record: Recorder, plan: Plan[Any], workers: int, train_end: date) -> list[dict[str, Any]]:
    """Train all in one launch, note their figures, and return their rows of table ``models``."""
    record.progress(f"trains {', '.join(entry.settings.name for entry in plan.entries)}")
    figures = launch(plan, workers, record.lake.spark if workers > 1 else None)  # else no session is needed
    record.details |= {"models": figures, "wait_fraction": wait_fraction(figures)}
    return [
        {
            "ds": record.run.ds,
            "name": entry.settings.name,
            "run_id": record.run.run_id,
            "path": record.lake.files.name(entry.folder),
            "config": json.dumps(entry.config.model_dump(mode="json"), sort_keys=True),
            "parents": json.dumps({"tables": record.run.inputs, **entry.parents}, sort_keys=True),
            "metrics": json.dumps(figures[entry.settings.name]["metrics"], sort_keys=True),
            "train_end": train_end,
        }
        for entry in plan.entries
    ]


def wait_fraction(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Part of the time of all training steps of a launch that was spent waiting for input."""
    seconds = sum(found["seconds"] for found in figures.values())
    waited = sum(found["seconds"] * found["wait_fraction"] for found in figures.values())
    return round(waited / seconds, 5) if seconds else 0.0


def write_models(record: Recorder, rows: Sequence[dict[str, Any]]) -> None:
    """Replace the night's rows of table ``models``."""
    record.write("models", pa.Table.from_pylist(rows, schema=TABLES["models"].arrow_schema))
