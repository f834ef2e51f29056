from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.training import TrainingData, artifacts
from roilake.pipelines.retrieval.training.validation import embed_all_items, validate
from roilake.training import Checkpoints, LocalContext, Progress, launch
from roilake.training import train as run
from tests.retrieval.feed.data import ITEMS, USERS, at, write_histories
from tests.retrieval.training.data import DAYS, SETTINGS, tiny, training_data


@pytest.fixture()
def data(tmp_path: Path) -> TrainingData:
    return training_data(tmp_path)


def train(
    data: TrainingData, folder: Path, dropout: float = 0.2, **config: object
) -> tuple[Progress, dict[str, Tensor]]:
    task = tiny(data, LocalContext(), dropout, **config)
    model, progress = launch(lambda context: run(task, context, Checkpoints(folder, "k"), SETTINGS), 1)
    return progress, model.state_dict()


def test_loss_falls_and_a_rerun_gives_the_same_weights(data: TrainingData, tmp_path: Path) -> None:
    progress, weights = train(data, tmp_path / "a")
    _, again = train(data, tmp_path / "b")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    losses = [point["loss"] for point in progress.curve]
    assert len(losses) == progress.steps == 3 * (5 + 6)  # the largest shards hold 33 and 47 rows, 8 a step
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert len(progress.validations) == 3 and 0 < progress.wait_fraction < 1


def test_focal_loss_trains(data: TrainingData, tmp_path: Path) -> None:
    progress, _ = train(data, tmp_path / "a", loss="focal", epochs=2)
    losses = [point["loss"] for point in progress.curve]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_the_best_epoch_is_kept(data: TrainingData, tmp_path: Path) -> None:
    progress, weights = train(data, tmp_path / "a", dropout=0.0)
    scores = [epoch["auc"] + epoch["hit_rate@50"] for epoch in progress.validations]
    assert progress.best == int(np.argmax(scores)) and progress.best_score == max(scores)
    task = tiny(data, LocalContext())
    model = task.model()
    model.load_state_dict(weights)
    assert validate(model, task.inputs)["auc"] == progress.validations[progress.best]["auc"]


CHILD = """
import os, signal, sys
from pathlib import Path
from roilake.training import Checkpoints
from tests.retrieval.training.data import training_data
from tests.retrieval.training.test_task import train

folder, save = Path(sys.argv[1]), Checkpoints.save

def save_and_die(self, step, *rest):
    save(self, step, *rest)
    if step == 12:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
train(training_data(folder / "data"), folder / "checkpoints")
"""


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], env={**os.environ, "PYTHONPATH": "."}, check=False
    )
    assert child.returncode == -signal.SIGKILL
    data = training_data(tmp_path / "data")
    resumed, weights = train(data, tmp_path / "checkpoints")
    whole, expected = train(data, tmp_path / "elsewhere")
    assert [point["loss"] for point in resumed.curve] == [point["loss"] for point in whole.curve]
    assert resumed.validations == whole.validations
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


class Learnt(nn.Module):
    """Has learnt these weights of relevance."""

    def __init__(self, weights: dict[str, float] | None) -> None:
        super().__init__()
        self.weights = weights

    def relevance_weights(self) -> dict[str, float] | None:
        return self.weights


def test_what_a_model_has_learnt_of_relevance_lies_beside_its_weights(data: TrainingData, tmp_path: Path) -> None:
    task, weights = tiny(data, LocalContext()), {"likeness": 0.25, "linked": 0.5, "recency": -0.25}
    artifacts(task.inputs, task, Learnt(weights), "model")[1]["relevance.json"](tmp_path / "found")
    assert json.loads((tmp_path / "found").read_text()) == weights
    for none in (Learnt(None), task.model()):
        assert "relevance.json" not in artifacts(task.inputs, task, none, "model")[1]


@pytest.mark.parametrize("drop", [False, True])
def test_validation_counts_as_defined(data: TrainingData, tmp_path: Path, drop: bool) -> None:
    """Where seen items are dropped, they are neither positives nor what these are ranked among."""
    # At each request's own instant, which is not before it; just before it; and user 3 had everything long ago.
    events = [(n % USERS, at(n), n % ITEMS) for n in range(1000, 1024)]
    events += [(n % USERS, at(n) - 1, (n + 1) % ITEMS) for n in range(1000, 1024)]
    events += [(3, 0, item) for item in range(ITEMS)]
    files = (write_histories(tmp_path, events),)
    task = tiny(replace(data, histories=files, drop_seen=drop), LocalContext())
    model, inputs = task.model(), task.inputs
    found = validate(model, inputs)
    items = embed_all_items(model, inputs, DAYS[2]).detach()
    aucs, left_out = [], 0
    for as_of, batch in inputs.validation.batches(0):
        scores = (model.embed_requests(batch, inputs.store.features(as_of)) @ items.T).detach()
        for row in torch.nonzero(batch.weight_B).flatten().tolist():
            user, time = int(batch.user_B[row]), int(batch.time_B[row])
            had = {i for u, t, i in events if u == user and t < time} if drop else set()
            positives = [item for item in batch.positives_BP[row].tolist() if item >= 0]
            rest = [item for item in range(ITEMS) if item not in positives and item not in had]
            left_out += len(had.intersection(positives))
            for item in (item for item in positives if item not in had):
                better = [(scores[row, item] > scores[row, other]).item() for other in rest]
                aucs.append(np.mean(better))
    assert (left_out > 3) == drop
    assert found["auc"] == pytest.approx(np.mean(aucs), abs=1e-6)
    assert found["hit_rate@50"] == 1.0  # there are only 20 items


def test_with_every_positive_seen_there_is_nothing_to_validate_on(data: TrainingData, tmp_path: Path) -> None:
    events = [(user, 0, item) for user in range(USERS) for item in range(ITEMS)]
    seen = replace(data, histories=(write_histories(tmp_path, events),), drop_seen=True)
    task = tiny(seen, LocalContext())
    assert validate(task.model(), task.inputs) == {}
