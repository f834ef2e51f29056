"""The models of a night: where they lie, their training, and their rows of table ``models``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from roilake.config import ModelConfig
from roilake.lake import TABLES, model_folder
from roilake.training.context import Context
from roilake.training.launchers import launch
from roilake.training.plan import Artifacts, Entry, InputsT, Plan
from roilake.training.task import Settings, Task

if TYPE_CHECKING:
    from roilake.runtime.step import Recorder


def make_entry(
    record: Recorder,
    config: ModelConfig,
    settings: Settings,
    task: Callable[[InputsT], Task[Any]],
    artifacts: Callable[..., Artifacts],
    **parents: Any,
) -> Entry[InputsT]:
    """An entry whose folders are those of the night's run. ``parents`` says what the model is made of."""
    lake, run, name = record.lake, record.run, settings.name
    folder = lake.files.local(model_folder(run.pipeline, name, run.ds, run.run_id))
    checkpoints = lake.lasting(run.step) / f"{run.run_id}-{name}"
    return Entry(str(folder), str(checkpoints), config, settings, task, artifacts, parents)


def make_plan(record: Recorder, open: Callable[[Context], InputsT], entries: Sequence[Entry[InputsT]]) -> Plan[InputsT]:
    """A plan whose checkpoints are resumed by the same run on the same versions of its tables."""
    inputs = (record.run.run_id, sorted(record.run.inputs.items()), [entry.parents for entry in entries])
    return Plan(open, tuple(entries), hashlib.sha256(repr(inputs).encode()).hexdigest()[:16])


def train_models(record: Recorder, plan: Plan[Any], workers: int, train_end: date) -> list[dict[str, Any]]:
    """Train all in one launch, note their figures, and return their rows of table ``models``."""
    record.progress(f"trains {', '.join(entry.settings.name for entry in plan.entries)}")
    figures = launch(plan, workers, record.lake.spark)
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
