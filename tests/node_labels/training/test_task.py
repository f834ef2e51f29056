"""Node models trained: two ranks as one, labels that nobody may see, and labels that are rare, absent or unknown."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from roilake.config.base import ModelConfig
from roilake.pipelines.node_labels.training import NodeTask, predict
from roilake.pipelines.node_labels.training.task import measured
from roilake.training import Checkpoints, Context, LocalContext, Progress, Settings, train
from tests.node_labels.small_graph import CLASSES, NODES, small_graph
from tests.training.toy import on_ranks

CLASS_N = torch.arange(NODES) % CLASSES
TRAIN, VALIDATION, TEST = torch.arange(0, 21), torch.arange(21, 31), torch.arange(31, NODES)


@dataclass(frozen=True)
class Training:
    steps: int = 30
    validate_every: int = 5
    learning_rate: float = 0.02
    weight_decay: float = 1e-4
    warmup_steps: int = 2
    decay: Literal["linear"] = "linear"


def make_task(kind: str = "mwgnn", label_N: Tensor = CLASS_N, **changes: Any) -> NodeTask:
    options = {"hidden": 16, "dropout": 0.0, **changes.pop("options", {})}
    config = ModelConfig(kind=kind, options=options)
    given = {"train": TRAIN, "validation": VALIDATION, "classes": CLASSES, "seed": 0, **changes}
    return NodeTask(small_graph(), label_N, config=config, training=Training(), **given)


def run(task: NodeTask, context: Context | None = None) -> tuple[dict[str, Tensor], Progress]:
    settings = Settings("n", 0, 1000, patience=20, one_thread=True)
    model, progress = train(task, context or LocalContext(), Checkpoints(Path("never"), ""), settings)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, progress


def losses(progress: Progress) -> list[float]:
    return [point["loss"] for point in progress.curve]


@pytest.mark.parametrize("kind", ["mwgnn", "gat_sep", "gcn"])
def test_two_ranks_are_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 21 train nodes one rank has 11, the other 10. Ranks that are threads share torch's generator: one draws."""
    initial = make_task(kind).model()
    monkeypatch.setattr(NodeTask, "model", lambda _: copy.deepcopy(initial))
    expected, one = run(make_task(kind))
    for found, two in on_ranks(lambda context: run(make_task(kind), context)):
        assert losses(two) == pytest.approx(losses(one), abs=1e-5)
        assert [set(point) for point in two.validations] == [{"step", "accuracy", "log_loss"}] * 6
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=1e-3)
    assert losses(one)[-1] < losses(one)[0]


def test_test_labels_reach_neither_the_weights_nor_the_kept_step() -> None:
    """A label that no class has would end any step that looked at it."""
    planted_N = CLASS_N.clone()
    planted_N[TEST] = 10**6
    dropout = {"options": {"dropout": 0.5}}
    (expected, one), (found, two) = (run(make_task(label_N=label_N, **dropout)) for label_N in (CLASS_N, planted_N))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert one.best == two.best and one.validations == two.validations
    seen_N = CLASS_N.clone()
    seen_N[TRAIN[0]] = (CLASS_N[TRAIN[0]] + 1) % CLASSES
    other, _ = run(make_task(label_N=seen_N, **dropout))
    assert any(not torch.equal(other[name], tensor) for name, tensor in expected.items())  # the canary is heard


def test_a_class_that_is_absent_rare_or_unknown() -> None:
    absent_N = torch.where(torch.isin(torch.arange(NODES), TRAIN) & (CLASS_N == 2), 0, CLASS_N)
    single_N = torch.where(CLASS_N == 2, 1, CLASS_N)
    single_N[TRAIN[3]] = 2
    unknown_N = CLASS_N.clone()
    unknown_N[TRAIN[:5]] = -1
    for label_N in (absent_N, single_N, unknown_N):
        weights, progress = run(make_task(label_N=label_N))
        assert all(tensor.isfinite().all() for tensor in weights.values())
        assert set(progress.validations[-1]) == {"step", "accuracy", "log_loss"}
    without = make_task(train=TRAIN[5:])
    assert all(torch.equal(a, b) for a, b in zip(run(without)[0].values(), weights.values(), strict=True))


def test_without_known_validation_labels_the_last_step_is_kept() -> None:
    label_N = CLASS_N.clone()
    label_N[VALIDATION] = -1
    _, progress = run(make_task(label_N=label_N))
    assert [set(point) for point in progress.validations] == [{"step"}] * 6 and progress.best == 5


def test_two_classes_are_chosen_by_auc_where_asked() -> None:
    _, progress = run(make_task(label_N=CLASS_N % 2, classes=2, select="auc"))
    aucs = [point["auc"] for point in progress.validations]
    assert progress.best_score == max(aucs) and progress.best == aucs.index(max(aucs))


def test_metrics_by_hand() -> None:
    log_VC = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]).log()
    found = measured(log_VC, torch.tensor([0, 0, 1]))
    expected = -(torch.tensor([0.8, 0.4, 0.7]).log().mean().item())
    assert found == pytest.approx({"accuracy": 2 / 3, "log_loss": expected, "auc": 1.0}, abs=1e-6)
    assert "auc" not in measured(log_VC, torch.tensor([1, 1, 1]))


def test_predictions_are_without_dropout_and_leave_the_mode() -> None:
    task = make_task(options={"dropout": 0.5})
    model = task.model().train()
    first, again = predict(model, task.graph), predict(model, task.graph)
    assert torch.equal(first, again) and model.training
    torch.testing.assert_close(first.exp().sum(dim=1), torch.ones(NODES))
