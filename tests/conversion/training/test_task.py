"""Conversion models trained: resumed, on two ranks, from files larger than memory, and with nothing to learn from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyspark.sql import SparkSession
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from roilake.errors import ConfigError, LakeError
from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig, EmbeddingConfig
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.training import (
    ConversionData,
    ConversionInputs,
    ConversionTask,
    artifacts,
    load_model,
)
from roilake.training import Checkpoints, Entry, LocalContext, Plan, Settings, launch, train
from tests.conversion.feed.impression_data import NAMES, SHARDS, SIDES, write_impressions, write_pseudo_labels

TRAINING = ConversionTrainingConfig(
    workers=1, steps=30, clicks=16, impressions=32, learning_rate=0.01, validate_every=10, checkpoint_every=8
)


def make_plan(
    folder: Path, only: str | None = None, data: dict[str, Any] | None = None, options: Any = None, **changes: Any
) -> Plan[ConversionInputs]:
    """A UKD student, whose teacher's pseudo-labels are made up, and a teacher; or one of them, with other options."""
    files, training = folder / "data", TRAINING.model_copy(update=changes)
    pseudo = tuple(write_pseudo_labels(files, 600))
    pinned: dict[str, Any] = {
        "train": tuple(write_impressions(files, "train", 600)),
        "validation": tuple(write_impressions(files, "validation", 300, first=600)),
        "names": NAMES,
        "sides": SIDES,
        "shards": SHARDS,
        "seed": 7,
    }
    models = {"teacher": ("ukd_teacher", {"ramp": 10}, None), "student": ("ukd", {}, pseudo)}
    known = ConversionData(**{**pinned, **(data or {})})
    entries = []
    for name, (kind, given, labels) in models.items():
        config = ConversionModelConfig(kind=kind, options={**given, **(options or {})})
        settings = Settings.of(name, known.seed, training, one_thread=True)
        task = partial(ConversionTask.of, name=name, config=config, pseudo=labels)
        models_at, checkpoints = str(folder / "models" / name), str(folder / "checkpoints" / name)
        if only in (None, name):
            entries.append(Entry(models_at, checkpoints, config, settings, task, artifacts))
    return Plan(partial(ConversionInputs, known, training), tuple(entries), "key")


def weights(folder: str | Path) -> dict[str, Tensor]:
    return load_file(Path(folder) / "weights.safetensors")


def curve(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "curve.json").read_text())
    return found


def without_seconds(found: dict[str, Any]) -> list[dict[str, float]]:
    return [{k: v for k, v in point.items() if k != "seconds"} for point in found["steps"]]


def test_a_plan_leaves_models_that_predict(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    found = launch(plan, 1)
    assert set(found) == {"teacher", "student"} and found["student"]["metrics"]["auc"] > 0.55
    assert {"auc", "domain_auc"} == set(found["teacher"]["metrics"])
    assert {"ctr", "cvr", "domain_clicked", "domain_unclicked", "loss"} == set(found["teacher"]["terms"])
    assert found["student"]["steps"] == 30 and 0 < found["student"]["wait_fraction"] < 1
    assert found["student"]["rows_per_second"] > 0 and not (tmp_path / "checkpoints" / "student").exists()
    model, index = load_model(tmp_path / "models" / "student")
    raw = np.array([[1000, 5000, 3], [1002, 5002, -1], [77, 77, 77]], np.int32)
    rows = ImpressionRows.of(index.rows_of(raw), np.zeros(3), np.zeros(3))
    with torch.no_grad():
        predicted = model.predict(rows.batch())
    assert predicted.cvr_B.shape == (3,) and predicted.uncertainty_B is not None
    losses = [point["loss"] for point in curve(plan.entries[1].folder)["steps"]]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    with pytest.raises(LakeError, match="no trained model"):
        load_model(tmp_path / "models" / "nobody")


def test_the_best_validation_is_kept_and_last_keeps_the_last(tmp_path: Path) -> None:
    kept = {}
    for keep in ("best", "last"):
        plan = make_plan(tmp_path / keep, "student", keep=keep, validate_every=3, learning_rate=0.05)
        figures = launch(plan, 1)["student"]
        aucs = [point["auc"] for point in curve(plan.entries[0].folder)["validations"]]
        kept[keep] = (figures["metrics"]["auc"], max(aucs), aucs[-1], aucs)
    assert kept["best"][3] == kept["last"][3] and kept["best"][1] > kept["best"][2]
    assert kept["best"][0] == kept["best"][1] and kept["last"][0] == kept["last"][2]


CHILD = """
import os, signal, sys
from pathlib import Path
from roilake.training import Checkpoints, launch
from tests.conversion.training.test_task import make_plan

save = Checkpoints.save

def save_and_die(self, step, *rest):
    save(self, step, *rest)
    if step == 16:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
launch(make_plan(Path(sys.argv[1]), sys.argv[2]), 1)
"""


def kill(folder: Path, name: str) -> None:
    """Train in a process that is killed when its checkpoint of step 16 is written."""
    arguments = [sys.executable, "-c", CHILD, str(folder), name]
    child = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": "."}, check=False)
    assert child.returncode == -signal.SIGKILL


def leave(folder: Path, name: str) -> None:
    """Train and stop there with an error."""
    save = Checkpoints.save

    def save_and_leave(self: Checkpoints, step: int, *rest: Any) -> None:
        save(self, step, *rest)
        if step == 16:
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Checkpoints, "save", save_and_leave)
        launch(make_plan(folder, name), 1)


@pytest.mark.parametrize(("name", "end"), [("teacher", kill), ("student", leave)])
def test_a_run_that_was_cut_off_resumes_to_the_same_bits(
    tmp_path: Path, name: str, end: Callable[[Path, str], None]
) -> None:
    end(tmp_path / "killed", name)
    assert list((tmp_path / "killed" / "checkpoints" / name).glob("16.json"))
    plans = [make_plan(tmp_path / run, name) for run in ("killed", "whole")]
    figures = [launch(plan, 1)[name] for plan in plans]
    assert figures[0]["metrics"] == figures[1]["metrics"] and figures[0]["terms"] == figures[1]["terms"]
    curves = [without_seconds(curve(plan.entries[0].folder)) for plan in plans]
    assert curves[0] == curves[1] and len(curves[0]) == 30
    resumed, whole = (weights(plan.entries[0].folder) for plan in plans)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.parametrize("rows", [1 << 18, 8])
def test_embeddings_of_bounded_size_and_files_larger_than_memory(tmp_path: Path, rows: int) -> None:
    """Read by blocks, every epoch anew, the same rows are learnt from; hashed fields have no more rows than asked."""
    options, embeddings = {"dropout": 0.0}, EmbeddingConfig(rows=rows)
    plan, small = (
        make_plan(tmp_path, "teacher", data, options, embeddings=embeddings) for data in ({}, {"memory_bytes": 8000})
    )
    inputs = [each.open(LocalContext()) for each in (plan, small)]
    assert inputs[0].schema.fields == inputs[1].schema.fields
    assert [field.rows for field in inputs[0].schema.fields] == ([40, 25, 7] if rows > 8 else [8, 8, 7])
    assert inputs[0].schema.click_rate == inputs[1].schema.click_rate
    kept = []
    for each in inputs:
        batches = each.feed().batches()
        taken = [next(batches) for _ in range(30)]
        kept.append(sorted(tuple(row) for batch in taken for row in batch.row_BF[batch.click_B == 0].tolist()))
    assert len(kept[0]) == len(kept[1]) == 30 * 32 and kept[0] != kept[1]  # in other orders
    assert launch(small, 1)["teacher"]["metrics"]["auc"] > 0.5


def test_two_workers_are_one_worker_at_the_same_global_batch(spark: SparkSession, tmp_path: Path) -> None:
    plain = {"dropout": 0.0, "head_dropout": 0.0}
    one = make_plan(tmp_path / "one", "student", options=plain)
    two = make_plan(tmp_path / "two", "student", options=plain, workers=2)
    launch(one, 1)
    launch(two, 2, spark)
    one_curve, two_curve = curve(one.entries[0].folder), curve(two.entries[0].folder)
    for name in ("loss", "ctr", "cvr", "pseudo", "unsure", "trust"):
        values = [[point[name] for point in found["steps"]] for found in (one_curve, two_curve)]
        assert values[1] == pytest.approx(values[0], abs=1e-5)
    aucs = [[point["auc"] for point in found["validations"]] for found in (one_curve, two_curve)]
    assert aucs[1] == pytest.approx(aucs[0], abs=1e-3)
    for name, tensor in weights(one.entries[0].folder).items():
        torch.testing.assert_close(weights(two.entries[0].folder)[name], tensor, atol=1e-3, rtol=1e-3)
    indexes = [load_model(Path(plan.entries[0].folder))[1] for plan in (one, two)]
    assert all(np.array_equal(a, b) for a, b in zip(*(index.known for index in indexes), strict=True))


def test_without_a_defined_auc_the_last_step_is_kept(tmp_path: Path) -> None:
    """A day on which nothing converts."""
    number = np.arange(400)
    rows = ImpressionRows.of(np.stack([number % 7, number % 5], 1), number % 2, np.zeros(400))
    schema = make_plan(tmp_path).open(LocalContext()).schema
    config = ConversionModelConfig(kind="esmm", steps=9)
    training = TRAINING.model_copy(update={"validate_every": 3, "weight_decay": 0.0})
    feed = ImpressionFeed.of_rows(rows, clicks=16, impressions=16, seed=0)
    task = ConversionTask(config, training, 0, replace(schema, fields=schema.fields[:2]), feed, rows)
    settings = Settings.of("m", 0, training)
    model, progress = train(task, LocalContext(), Checkpoints(tmp_path / "none", ""), settings)
    assert progress.best == 2 and [set(point) for point in progress.validations] == [{"step"}] * 3
    assert model.predict(rows.batch()).cvr_B.isfinite().all()  # type: ignore[operator]


def test_graph_vectors_are_inputs_that_do_not_learn(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    known = np.array([1003, 1001], np.int32)
    save_file({"user.categories": known, "user.vectors": vectors}, tmp_path / "graph.safetensors")
    plan = make_plan(tmp_path, "teacher", {"graph": str(tmp_path / "graph.safetensors")})
    launch(plan, 1)
    model, index = load_model(Path(plan.entries[0].folder))
    held = model.state_dict()["embeddings.graph_user"]
    row = index.rows_of(np.array([[1003, -1, -1]], np.int32))[0, 0]
    assert torch.equal(held[row], torch.from_numpy(vectors[0])) and held.any(dim=1).sum() == 2
    assert model.state_dict()["embeddings.maps.user.weight"].shape == (16, 6)


def test_what_cannot_be_learnt_from_is_named(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "student")
    entry = plan.entries[0]
    lonely = replace(entry, task=partial(entry.task, pseudo=None))
    with pytest.raises(ConfigError, match=r"models.student: learns from pseudo-labels, but has no teacher's"):
        launch(replace(plan, entries=(lonely,)), 1)
    train_files = write_impressions(tmp_path / "data", "train", 600)
    unclicked = tuple(file for file in train_files if file.partition["labelled"] == "0")
    with pytest.raises(LakeError, match="no clicked row in split train"):
        launch(make_plan(tmp_path, "student", {"train": unclicked}), 1)


def test_dropout_and_seed_alone_decide(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path / str(n), "student", {"seed": 8} if n == 2 else {}) for n in range(3)]
    for plan in plans:
        launch(plan, 1)
    first, again, other = (weights(plan.entries[0].folder) for plan in plans)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
