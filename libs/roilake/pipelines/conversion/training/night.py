"""Trains conversion models of a night: pins files, launches all models at once, and makes their rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import TABLES, DataFile, extremes, model_folder
from roilake.pipelines.conversion.config import ConversionConfig, ConversionModelConfig
from roilake.pipelines.conversion.feed.categories import Side
from roilake.pipelines.conversion.models import needs_teacher
from roilake.pipelines.conversion.training.graph_vectors import write_graph_vectors
from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.task import ConversionTask, artifacts, settings_of
from roilake.runtime.step import Recorder
from roilake.training import Entry, Plan, launch
from roilake.training.plan import wait_fraction


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
    record.details |= {"models": figures, "wait_fraction": wait_fraction(figures)}
    return [
        _row(record, entry, models[entry.name], figures[entry.name], learnt.until) for entry in plan.entries
    ]


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
) -> Plan[ConversionInputs]:
    """Pin the files and name the folders of all that is trained."""
    lake, run, training = record.lake, record.run, config.training
    scratch, kept = lake.scratch(f"{run.step}/{run.run_id}"), lake.lasting(run.step)
    names, sides = field_names(config)
    data = ConversionData(
        train=learnt.files,
        validation=files_of(lake, "impressions", record.pin("impressions"), ds=run.ds, split="validation"),
        names=names,
        sides=sides,
        shards=config.impressions.shards,
        seed=config.seed,
        graph=str(write_graph_vectors(training.graph, learnt.first, scratch, record))
        if training.graph
        else None,
    )
    entries = []
    for name, model in models.items():
        folder = str(lake.files.local(model_folder(run.pipeline, name, run.ds, run.run_id)))
        task = partial(ConversionTask.of, name=name, config=model, pseudo=_pseudo_labels(record, model))
        settings = settings_of(name, model, training, config.seed)
        entries.append(Entry(folder, str(kept / f"{run.run_id}-{name}"), settings, task, artifacts))
    inputs = repr((run.run_id, sorted(run.inputs.items()), record.details.get("graph")))
    key = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    return Plan(partial(ConversionInputs, data, training), tuple(entries), key)


def field_names(config: ConversionConfig) -> tuple[tuple[str, ...], tuple[Side, ...]]:
    """Names and sides of the fields, in the order of column ``categories``."""
    fields = config.impressions.fields
    found: list[tuple[str, Side]] = [("user", "user"), ("item", "item")]
    found += [(name, "user") for name in fields.user]
    found += [(name, "item") for name in fields.item]
    found += [(name, "context") for name in fields.context]
    return tuple(name for name, _ in found), tuple(side for _, side in found)


def _pseudo_labels(record: Recorder, model: ConversionModelConfig) -> tuple[DataFile, ...] | None:
    """Files of the teacher's pseudo-labels; None for a model without one. Raises LakeError where there are none."""
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
    record: Recorder,
    entry: Entry[ConversionInputs],
    model: ConversionModelConfig,
    found: Mapping[str, Any],
    until: date,
) -> dict[str, Any]:
    """A row of table ``models``."""
    student = needs_teacher(model.kind, dict(model.options))
    parents = {"tables": record.run.inputs, "graph": record.details.get("graph")}
    return {
        "ds": record.run.ds,
        "name": entry.name,
        "run_id": record.run.run_id,
        "path": record.lake.files.name(entry.folder),
        "config": json.dumps(model.model_dump(mode="json"), sort_keys=True),
        "parents": json.dumps(parents | ({"teacher": model.teacher} if student else {}), sort_keys=True),
        "metrics": json.dumps(found["metrics"], sort_keys=True),
        "train_end": until,
    }


def write_models(record: Recorder, rows: list[dict[str, Any]]) -> None:
    """Replace the night's rows of table ``models``."""
    record.write("models", pa.Table.from_pylist(rows, schema=TABLES["models"].arrow_schema))
