"""Batch inference of conversion models: tasks read the pinned files of a shard, and write what each model predicts.

Legend: R rows of a batch, F categorical fields.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pyspark import TaskContext
from torch import Tensor

from roilake.errors import LakeError
from roilake.lake import DataFile, Make
from roilake.pipelines.conversion.feed.categories import CategoryIndex
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import ConversionModel
from roilake.pipelines.conversion.models.ensemble import weighted_prediction
from roilake.pipelines.conversion.training.task import load_model
from roilake.runtime.step import Recorder

BATCH = 1 << 16
SHOWN = ("impression_id", "user", "item", "categories")
LEARNT = ("impression_id", "categories", "sampling_rate", "propensity")
"""What a student learns from, beside its teacher's predictions."""


@dataclass(frozen=True)
class Predictions:
    """Of R impressions: probabilities, and KL divergence between the model's two heads; None for what it does not
    predict."""

    pcvr_R: NDArray[np.float64]
    pctr_R: NDArray[np.float64] | None
    uncertainty_R: NDArray[np.float64] | None


@dataclass(frozen=True)
class SavedModel:
    """A trained model: ``version`` is name@ds/run_id, ``auc`` that of its conversions on validation clicks."""

    name: str
    folder: str
    version: str
    auc: float | None

    def open(self) -> OpenModel:
        """Read its folder. Raises LakeError if that holds no model."""
        return OpenModel(self, *load_model(Path(self.folder)))


@dataclass(frozen=True)
class OpenModel:
    """A trained model in memory, with what makes its rows of categories."""

    saved: SavedModel
    model: ConversionModel
    index: CategoryIndex

    @torch.inference_mode()
    def predict(self, categories_RF: NDArray[np.int32]) -> Predictions:
        """Inference on a batch. Raises LakeError for impressions of other fields than those learnt from."""
        if categories_RF.shape[1] != len(self.index.names):
            raise LakeError(
                f"impressions have {categories_RF.shape[1]} categories, {self.saved.name} learnt from "
                f"{len(self.index.names)} ({', '.join(self.index.names)}): train it again"
            )
        zeros = np.zeros(len(categories_RF), np.float32)
        found = self.model.predict(ImpressionRows.of(self.index.rows_of(categories_RF), zeros, zeros).batch())
        return Predictions(*(_doubles(part) for part in (found.cvr_B, found.ctr_B, found.uncertainty_B)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Teacher:
    """One model, or an ensemble of several, each with its weight."""

    name: str
    members: tuple[SavedModel, ...]
    weights: tuple[float, ...]
    version: str

    @classmethod
    def alone(cls, model: SavedModel) -> Teacher:
        """A teacher that is one model."""
        return cls(model.name, (model,), (1.0,), model.version)


@dataclass(frozen=True)
class Part:
    """One task: the files of a split and shard."""

    split: str
    shard: int
    paths: tuple[str, ...]
    rows: int


def saved_models(record: Recorder, names: Collection[str], step: str) -> tuple[SavedModel, ...]:
    """The models that this night has trained. Raises LakeError when one has no row in ``models``; ``step`` writes
    it."""
    rows = record.rows("models", columns=("name", "path", "run_id", "metrics")).to_pylist()
    known = {row["name"]: row for row in rows}
    missing = [name for name in names if name not in known]
    if missing:
        raise LakeError(f"models: no model {missing[0]!r} for {record.run.ds}; run {step} for this night first")
    return tuple(
        SavedModel(
            name,
            str(record.lake.files.local(known[name]["path"])),
            f"{name}@{record.run.ds}/{known[name]['run_id']}",
            json.loads(known[name]["metrics"]).get("auc"),
        )
        for name in names
    )


def parts_of(files: Sequence[DataFile]) -> tuple[Part, ...]:
    """Files of table ``impressions`` as tasks."""

    def partition(file: DataFile) -> tuple[str, int]:
        return file.partition["split"], int(file.partition["shard"])

    ordered = sorted((file for file in files if file.rows), key=partition)
    held = [(key, list(group)) for key, group in groupby(ordered, partition)]
    return tuple(
        Part(*key, tuple(file.path for file in group), sum(file.rows for file in group)) for key, group in held
    )


def scoring(models: tuple[SavedModel, ...], parts: tuple[Part, ...], ds: date) -> Make:
    """Rows of ``cvr_scores`` of each model, for the parts whose numbers a task is given."""

    def make(numbers: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        for part, rows, found in _predicted(models, parts, numbers, SHOWN):
            for model in models:
                yield "cvr_scores", _scores(rows, found[model.name], model, part, ds)

    return make


def labelling(teachers: tuple[Teacher, ...], parts: tuple[Part, ...], ds: date) -> Make:
    """Rows of ``pseudo_labels`` of each teacher, likewise."""
    members = {member.name: member for teacher in teachers for member in teacher.members}

    def make(numbers: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        for part, rows, found in _predicted(tuple(members.values()), parts, numbers, LEARNT):
            for teacher in teachers:
                yield "pseudo_labels", _labels(rows, teacher, found, part, ds)

    return make


def open_models(models: tuple[SavedModel, ...]) -> list[OpenModel]:
    """The models, opened in this task, with as many threads as Spark gives it cores."""
    context = TaskContext.get()
    torch.set_num_threads(context.cpus() if context else 1)
    return [saved.open() for saved in models]


def _predicted(
    models: tuple[SavedModel, ...], parts: tuple[Part, ...], numbers: pa.Table, columns: Sequence[str]
) -> Iterator[tuple[Part, pa.Table, dict[str, Predictions]]]:
    """``columns`` of the parts whose numbers a task is given, a batch at a time, and what each model predicts of it."""
    opened = open_models(models)
    for part in (parts[number] for number in numbers["id"].to_pylist()):
        for path in part.paths:
            for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=list(columns)):
                categories_RF = pc.list_flatten(batch["categories"]).to_numpy().astype(np.int32).reshape(len(batch), -1)
                found = {each.saved.name: each.predict(categories_RF) for each in opened}
                yield part, pa.Table.from_batches([batch]), found


def _scores(rows: pa.Table, found: Predictions, saved: SavedModel, part: Part, ds: date) -> pa.Table:
    shown = rows.select(["impression_id", "user", "item"])
    product_R = None if found.pctr_R is None else found.pctr_R * found.pcvr_R
    numbers = {"pctr": found.pctr_R, "pcvr": found.pcvr_R, "pctcvr": product_R, "uncertainty": found.uncertainty_R}
    return _with(shown, numbers, {"ds": ds, "model": saved.name, "split": part.split, "version": saved.version})


def _labels(rows: pa.Table, teacher: Teacher, found: Mapping[str, Predictions], part: Part, ds: date) -> pa.Table:
    own = [found[member.name] for member in teacher.members]
    probability_R, apart_R = own[0].pcvr_R, own[0].uncertainty_R
    if len(own) > 1:
        probability_R, apart_R = weighted_prediction(np.stack([each.pcvr_R for each in own]), np.array(teacher.weights))
    apart_R = np.zeros(len(rows)) if apart_R is None else apart_R
    numbers = {"probability": probability_R, "disagreement": apart_R}
    return _with(rows, numbers, {"ds": ds, "teacher": teacher.name, "shard": part.shard, "version": teacher.version})


def _with(rows: pa.Table, numbers: Mapping[str, NDArray[np.float64] | None], same: Mapping[str, object]) -> pa.Table:
    """More columns: numbers (None: all null), and the same value in each row."""
    for name, values in numbers.items():
        rows = rows.append_column(name, pa.nulls(len(rows), pa.float64()) if values is None else pa.array(values))
    for name, value in same.items():
        rows = rows.append_column(name, pa.array([value] * len(rows)))
    return rows


def _doubles(values: Tensor | None) -> NDArray[np.float64] | None:
    return None if values is None else values.double().numpy()
