"""What conversion models of a night are trained from: the pinned files, and those of their teachers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import partial
from typing import Any

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import DataFile, extremes
from roilake.pipelines.conversion.config import ConversionConfig, ConversionModelConfig
from roilake.pipelines.conversion.models import needs_teacher
from roilake.pipelines.conversion.training.graph_vectors import write_graph_vectors
from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.task import ConversionTask, artifacts
from roilake.runtime.step import Recorder
from roilake.training import Plan, Settings, night


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
    plan = plan_models(record, config, models, learnt)
    return night.train_models(record, plan, config.training.workers, learnt.until)


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


def plan_models(
    record: Recorder, config: ConversionConfig, models: Mapping[str, ConversionModelConfig], learnt: Learnt
) -> Plan[ConversionInputs]:
    """Pin the files and name the folders of all that is trained."""
    lake, run, training = record.lake, record.run, config.training
    scratch = lake.scratch(f"{run.step}/{run.run_id}")
    data = ConversionData(
        train=learnt.files,
        validation=files_of(lake, "impressions", record.pin("impressions"), ds=run.ds, split="validation"),
        names=tuple(name for _, name in config.impressions.categories),
        sides=tuple(side for side, _ in config.impressions.categories),
        shards=config.impressions.shards,
        seed=config.seed,
        graph=str(write_graph_vectors(training.graph, learnt.first, scratch, record)) if training.graph else None,
    )
    entries = []
    for name, model in models.items():
        keep, pseudo = model.keep or training.keep, _pseudo_labels(record, model)
        settings = Settings.of(name, config.seed, training, keep=keep, one_thread=True)
        task = partial(ConversionTask.of, name=name, config=model, pseudo=pseudo)
        parents = {"graph": record.details.get("graph")} | ({"teacher": model.teacher} if pseudo else {})
        entries.append(night.make_entry(record, model, settings, task, artifacts, **parents))
    return night.make_plan(record, partial(ConversionInputs, data, training), entries)


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
