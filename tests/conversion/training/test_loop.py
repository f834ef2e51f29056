"""Conversion models trained: resumed, on two ranks, from files larger than memory, and with nothing to learn from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyspark.sql import SparkSession
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor, nn

from roilake.errors import ConfigError, LakeError
from roilake.pipelines.conversion.config import (
    ConversionModelConfig,
    ConversionTrainingConfig,
    EmbeddingConfig,
)
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import Term, build
from roilake.pipelines.conversion.training.artifacts import load_model
from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.loop import ConversionRecipe, fit_conversions, reduce_terms
from roilake.pipelines.conversion.training.rank import ConversionPlan, ConversionTask
from roilake.training import Checkpoints, LocalContext, launch
from roilake.training.learner import Learner
from tests.conversion.feed.impression_data import NAMES, SHARDS, SIDES, write_impressions, write_pseudo_labels

TRAINING = ConversionTrainingConfig(
    workers=1, steps=30, clicks=16, impressions=32, learning_rate=0.01, validate_every=10, checkpoint_every=8
)


def make_plan(folder: Path, **changes: Any) -> ConversionPlan:
    """A UKD student, whose teacher's pseudo-labels are made up, and a teacher."""
    data = folder / "data"
    pseudo = tuple(write_pseudo_labels(data, 600))
    tasks = {"teacher": ("ukd_teacher", {"ramp": 10}, None), "student": ("ukd", {}, pseudo)}
    return ConversionPlan(
        ConversionData(
            train=tuple(write_impressions(data, "train", 600)),
            validation=tuple(write_impressions(data, "validation", 300, first=600)),
            names=NAMES,
            sides=SIDES,
            shards=SHARDS,
            seed=7,
        ),
        TRAINING.model_copy(update=changes),
        tuple(
            ConversionTask(
                name,
                ConversionModelConfig(kind=kind, options=options),
                str(folder / "models" / name),
                str(folder / "checkpoints" / name),
                files,
            )
            for name, (kind, options, files) in tasks.items()
        ),
        "key",
    )


def only(plan: ConversionPlan, name: str, **options: Any) -> ConversionPlan:
    """The plan with one task, with other options."""
    task = next(task for task in plan.tasks if task.name == name)
    config = task.config.model_copy(update={"options": {**task.config.options, **options}})
    return replace(plan, tasks=(replace(task, config=config),))


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
    losses = [point["loss"] for point in curve(plan.tasks[1].folder)["steps"]]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    with pytest.raises(LakeError, match="no trained model"):
        load_model(tmp_path / "models" / "nobody")


def test_the_best_validation_is_kept_and_last_keeps_the_last(tmp_path: Path) -> None:
    kept = {}
    for keep in ("best", "last"):
        plan = only(make_plan(tmp_path / keep, keep=keep, validate_every=3, learning_rate=0.05), "student")
        figures = launch(plan, 1)["student"]
        aucs = [point["auc"] for point in curve(plan.tasks[0].folder)["validations"]]
        kept[keep] = (figures["metrics"]["auc"], max(aucs), aucs[-1], aucs)
    assert kept["best"][3] == kept["last"][3] and kept["best"][1] > kept["best"][2]
    assert kept["best"][0] == kept["best"][1] and kept["last"][0] == kept["last"][2]


CHILD = """
import os, signal, sys
from pathlib import Path
from roilake.training import Checkpoints, launch
from tests.conversion.training.test_loop import make_plan, only

save = Checkpoints.save

def save_and_die(self, step, *rest):
    save(self, step, *rest)
    if step == 16:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
launch(only(make_plan(Path(sys.argv[1])), sys.argv[2]), 1)
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
        launch(only(make_plan(folder), name), 1)


@pytest.mark.parametrize(("name", "end"), [("teacher", kill), ("student", leave)])
def test_a_run_that_was_cut_off_resumes_to_the_same_bits(
    tmp_path: Path, name: str, end: Callable[[Path, str], None]
) -> None:
    end(tmp_path / "killed", name)
    assert list((tmp_path / "killed" / "checkpoints" / name).glob("16.json"))
    plans = [only(make_plan(tmp_path / place), name) for place in ("killed", "whole")]
    figures = [launch(plan, 1)[name] for plan in plans]
    assert figures[0]["metrics"] == figures[1]["metrics"] and figures[0]["terms"] == figures[1]["terms"]
    curves = [without_seconds(curve(plan.tasks[0].folder)) for plan in plans]
    assert curves[0] == curves[1] and len(curves[0]) == 30
    resumed, whole = (weights(plan.tasks[0].folder) for plan in plans)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.parametrize("rows", [1 << 18, 8])
def test_embeddings_of_bounded_size_and_files_larger_than_memory(tmp_path: Path, rows: int) -> None:
    """Read by blocks, every epoch anew, the same rows are learnt from; hashed fields have no more rows than asked."""
    plan = only(make_plan(tmp_path, embeddings=EmbeddingConfig(rows=rows)), "teacher", dropout=0.0)
    small = replace(plan, data=replace(plan.data, memory_bytes=8000))
    inputs = [ConversionInputs(p.data, p.training, LocalContext()) for p in (plan, small)]
    assert inputs[0].schema.fields == inputs[1].schema.fields
    assert [field.rows for field in inputs[0].schema.fields] == ([40, 25, 7] if rows > 8 else [8, 8, 7])
    assert inputs[0].schema.click_rate == inputs[1].schema.click_rate
    kept = []
    for each in inputs:
        batches = each.feed().batches()
        taken = [next(batches) for _ in range(30)]
        kept.append(
            sorted(tuple(row) for batch in taken for row in batch.row_BF[batch.click_B == 0].tolist())
        )
    assert len(kept[0]) == len(kept[1]) == 30 * 32 and kept[0] != kept[1]  # in other orders
    assert launch(small, 1)["teacher"]["metrics"]["auc"] > 0.5


def test_two_workers_are_one_worker_at_the_same_global_batch(spark: SparkSession, tmp_path: Path) -> None:
    two_workers = TRAINING.model_copy(update={"workers": 2})
    plain = {"dropout": 0.0, "head_dropout": 0.0}
    one = only(make_plan(tmp_path / "one"), "student", **plain)
    two = replace(only(make_plan(tmp_path / "two"), "student", **plain), training=two_workers)
    launch(one, 1)
    launch(two, 2, spark)
    one_curve, two_curve = curve(one.tasks[0].folder), curve(two.tasks[0].folder)
    for name in ("loss", "ctr", "cvr", "pseudo", "unsure", "trust"):
        values = [[point[name] for point in found["steps"]] for found in (one_curve, two_curve)]
        assert values[1] == pytest.approx(values[0], abs=1e-5)
    aucs = [[point["auc"] for point in found["validations"]] for found in (one_curve, two_curve)]
    assert aucs[1] == pytest.approx(aucs[0], abs=1e-3)
    for name, tensor in weights(one.tasks[0].folder).items():
        torch.testing.assert_close(weights(two.tasks[0].folder)[name], tensor, atol=1e-3, rtol=1e-3)
    indexes = [load_model(Path(plan.tasks[0].folder))[1] for plan in (one, two)]
    assert all(np.array_equal(a, b) for a, b in zip(*(index.known for index in indexes), strict=True))


class Ranks(LocalContext):
    """Adds what the other rank would send."""

    def __init__(self, other: Tensor) -> None:
        super().__init__()
        self.other = other

    def allreduce(self, flat: Tensor) -> None:
        flat += self.other


def test_terms_are_divided_by_the_weights_of_all_ranks() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    terms = {
        "a": Term(total * 1, torch.tensor(2.0), 0.5),
        "figure": Term(torch.tensor(1.0), torch.tensor(4.0), 0.0),
        "empty": Term(torch.tensor(0.0), torch.tensor(0.0)),
    }
    loss, values = reduce_terms(Ranks(torch.tensor([2.0, 3.0, 0.0, 6.0, 4.0, 0.0])), terms)
    assert values == {"a": 1.0, "figure": 0.5, "empty": 0.0}
    assert loss.item() == pytest.approx(0.5 * 6 / 8)
    loss.backward()
    assert total.grad is not None and total.grad.item() == pytest.approx(0.5 / 8)


def test_without_a_defined_auc_the_last_step_is_kept(tmp_path: Path) -> None:
    """A day on which nothing converts."""
    number = np.arange(400)
    rows = ImpressionRows.of(np.stack([number % 7, number % 5], 1), number % 2, np.zeros(400))
    plan = make_plan(tmp_path)
    schema = replace(ConversionInputs(plan.data, TRAINING, LocalContext()).schema)
    feed = ImpressionFeed.of_rows(rows, clicks=16, impressions=16, seed=0)
    recipe = ConversionRecipe("m", 9, 0.01, 0.0, 3, 100, 0)
    model = build("esmm", {}, replace(schema, fields=schema.fields[:2]))
    progress = fit_conversions(model, feed, rows, recipe, LocalContext())
    assert progress.best_epoch == 2 and [set(point) for point in progress.epochs] == [{"step"}] * 3
    assert model.predict(rows.batch()).cvr_B.isfinite().all()


def test_graph_vectors_are_inputs_that_do_not_learn(tmp_path: Path) -> None:
    plan = only(make_plan(tmp_path), "teacher")
    vectors = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    known = np.array([1003, 1001], np.int32)
    save_file({"user.categories": known, "user.vectors": vectors}, tmp_path / "graph.safetensors")
    plan = replace(plan, data=replace(plan.data, graph=str(tmp_path / "graph.safetensors")))
    launch(plan, 1)
    model, index = load_model(Path(plan.tasks[0].folder))
    held = model.state_dict()["embeddings.graph_user"]
    place = index.rows_of(np.array([[1003, -1, -1]], np.int32))[0, 0]
    assert torch.equal(held[place], torch.from_numpy(vectors[0])) and held.any(dim=1).sum() == 2
    assert model.state_dict()["embeddings.maps.user.weight"].shape == (16, 6)


def test_what_cannot_be_learnt_from_is_named(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    lonely = replace(plan, tasks=(replace(plan.tasks[1], pseudo=None),))
    with pytest.raises(ConfigError, match=r"models.student: learns from pseudo-labels, but has no teacher's"):
        launch(lonely, 1)
    unclicked = tuple(file for file in plan.data.train if file.partition["labelled"] == "0")
    with pytest.raises(LakeError, match="no clicked row in split train"):
        launch(replace(plan, data=replace(plan.data, train=unclicked)), 1)


@pytest.mark.parametrize("sparse", [False, True])
def test_weight_decay_is_that_of_adam(sparse: bool) -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleList([nn.Embedding(3, 2, sparse=sparse), nn.Linear(2, 1)])

    def loss_of(model: Any) -> Tensor:
        return (model[1](model[0](torch.arange(3))) ** 2).sum()  # touches every row

    ours, theirs = made(), made()
    learner = Learner(ours, 0.05, 0.0, weight_decay=0.3)
    if sparse:
        theirs[0].sparse = False  # type: ignore[index]
    adam = torch.optim.Adam(theirs.parameters(), 0.05, weight_decay=0.3)
    for _ in range(4):
        learner.zero_grad()
        total = loss_of(ours)
        total.backward()
        learner.step(LocalContext(), total, torch.tensor(1.0))
        adam.zero_grad()
        loss_of(theirs).backward()
        adam.step()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_dropout_and_seed_alone_decide(tmp_path: Path) -> None:
    plans = [only(make_plan(tmp_path / str(place)), "student") for place in range(3)]
    plans[2] = replace(plans[2], data=replace(plans[2].data, seed=8))
    for plan in plans:
        launch(plan, 1)
    first, again, other = (weights(plan.tasks[0].folder) for plan in plans)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
