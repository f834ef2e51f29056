"""Trains conversion models of a night: pins files, launches all models at once, and tells what came of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import TABLES, DataFile, extremes
from roilake.pipelines.conversion.config import ConversionConfig, ConversionModelConfig
from roilake.pipelines.conversion.feed.categories import Side
from roilake.pipelines.conversion.models import needs_teacher
from roilake.pipelines.conversion.training.graph_vectors import write_graph_vectors
from roilake.pipelines.conversion.training.inputs import ConversionData
from roilake.pipelines.conversion.training.rank import ConversionPlan, ConversionTask
from roilake.runtime.step import Recorder
from roilake.training.launchers import launch


@dataclass(frozen=True)
class Learnt:
    """The train split of a night: its files, its first day, and the day after its last."""

    files: tuple[DataFile, ...]
    first: date
    until: date


def train_models(
    record: Recorder, config: ConversionConfig, models: Mapping[str, ConversionModelConfig]
) -> list[dict[str, Any]]:
    """Train ``models`` in one launch; their rows of table ``models``. Raises LakeError where there is nothing to learn
    from."""
    learnt = learnt_from(record)
    record.rows_in = sum(file.rows for file in learnt.files)
    plan = make_plan(record, config, models, learnt)
    record.progress(f"trains {', '.join(models)}")
    figures = launch(plan, config.training.workers, record.lake.spark)
    seconds = sum(found["seconds"] for found in figures.values())
    waited = sum(found["seconds"] * found["wait_fraction"] for found in figures.values())
    record.details |= {"models": figures, "wait_fraction": round(waited / seconds, 5) if seconds else 0.0}
    return [_row(record, plan, task, figures[task.name], learnt.until) for task in plan.tasks]


def learnt_from(record: Recorder) -> Learnt:
    """The night's train split. Raises LakeError when it is empty or holds no conversion at all."""
    lake, version, ds = record.lake, record.pin("impressions"), record.run.ds
    files = tuple(file for file in files_of(lake, "impressions", version, ds=ds, split="train") if file.rows)
    if not files:
        raise LakeError(
            f"impressions: no row in split train of {ds}; give the night more days, or smaller validation and test"
        )
    where = {"ds": ds, "split": "train"}
    _, most = extremes(lake, "impressions", version, "conversion", (), filters=where).get((), (0, 0))
    if not most:
        raise LakeError(
            f"impressions: no conversion in split train of {ds}, so there is nothing to learn: check "
            "source.columns.conversion, or give the night more days"
        )
    first, last = extremes(lake, "impressions", version, "time", (), filters=where)[()]
    return Learnt(files, first.astimezone(UTC).date(), last.astimezone(UTC).date() + timedelta(days=1))


def make_plan(
    record: Recorder, config: ConversionConfig, models: Mapping[str, ConversionModelConfig], learnt: Learnt
) -> ConversionPlan:
    """Pin the files and name the folders of all that is trained."""
    lake, run = record.lake, record.run
    scratch = lake.scratch(f"{run.job}/{run.run_id}")
    names, sides = field_names(config)
    graph = config.training.graph
    data = ConversionData(
        train=learnt.files,
        validation=files_of(lake, "impressions", record.pin("impressions"), ds=run.ds, split="validation"),
        names=names,
        sides=sides,
        shards=config.impressions.shards,
        seed=config.seed,
        graph=str(write_graph_vectors(graph, learnt.first, scratch, record)) if graph else None,
    )
    tasks = tuple(
        ConversionTask(
            name=name,
            config=model,
            folder=str(lake.folder / "models" / name / str(run.ds) / run.run_id),
            checkpoints=str(scratch / name),
            pseudo=_pseudo_labels(record, model),
        )
        for name, model in models.items()
    )
    inputs = repr((run.run_id, sorted(run.inputs.items()), record.details.get("graph")))
    return ConversionPlan(data, config.training, tasks, hashlib.sha256(inputs.encode()).hexdigest()[:16])


def field_names(config: ConversionConfig) -> tuple[tuple[str, ...], tuple[Side, ...]]:
    """Names and sides of the fields, in the order of column ``categories``."""
    fields = config.impressions.fields
    found: list[tuple[str, Side]] = [("user", "user"), ("item", "item")]
    found += [(name, "user") for name in fields.user]
    found += [(name, "item") for name in fields.item]
    found += [(name, "context") for name in fields.context]
    return tuple(name for name, _ in found), tuple(side for _, side in found)


def _pseudo_labels(record: Recorder, model: ConversionModelConfig) -> tuple[DataFile, ...] | None:
    """The word of the model's teacher, if it listens to one. Raises LakeError where the teacher has not spoken."""
    if not needs_teacher(model.kind, dict(model.options)):
        return None
    version = record.pin("pseudo_labels")
    files = files_of(record.lake, "pseudo_labels", version, ds=record.run.ds, teacher=model.teacher)
    if not files:
        raise LakeError(
            f"pseudo_labels: none of teacher {model.teacher!r} for {record.run.ds}; run write_pseudo_labels for this "
            "night first"
        )
    return files


def _row(
    record: Recorder, plan: ConversionPlan, task: ConversionTask, found: Mapping[str, Any], until: date
) -> dict[str, Any]:
    """A row of table ``models``."""
    taught = {"teacher": task.config.teacher} if task.pseudo else {}
    parents = {"tables": record.run.inputs, "graph": record.details.get("graph"), **taught}
    return {
        "ds": record.run.ds,
        "name": task.name,
        "run_id": record.run.run_id,
        "path": str(Path(task.folder).relative_to(record.lake.folder)),
        "config": json.dumps(task.config.model_dump(mode="json"), sort_keys=True),
        "parents": json.dumps(parents, sort_keys=True),
        "metrics": json.dumps(found["metrics"], sort_keys=True),
        "train_end": until,
    }


def write_models(record: Recorder, rows: list[dict[str, Any]]) -> None:
    """Replace the night's rows of table ``models``."""
    record.write("models", pa.Table.from_pylist(rows, schema=TABLES["models"].arrow_schema))
