"""The trainer on a toy task: ranks, optimizers, schedules, what is kept, and how a run goes on."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from roilake.pipelines.conversion.config import ConversionTrainingConfig
from roilake.pipelines.retrieval.config import TrainingConfig
from roilake.training import Checkpoints, LocalContext, OptimizerPlan, Schedule, Settings, Term
from roilake.training.context import determinism
from roilake.training.trainer import reduce_terms
from tests.training.toy import SETTINGS, STEPS, ToyTask, batch_of, make_net, on_ranks, train_toy

SCHEDULES = Schedule(3, "cosine"), Schedule(0, "linear")


def two_plans(net: Any) -> list[OptimizerPlan]:
    """The head apart from the rest; the convolution is fixed."""
    body = [net.table.weight, *net.norm.parameters()]
    return [
        OptimizerPlan(body, 0.05, SCHEDULES[0]),
        OptimizerPlan(list(net.head.parameters()), 0.01, SCHEDULES[1], 0.1),
    ]


def test_two_ranks_are_one_with_batch_norm(tmp_path: Path) -> None:
    expected, one = train_toy(tmp_path / "one", LocalContext())
    results = on_ranks(lambda context: train_toy(tmp_path / f"{context.rank}", context))
    for found, two in results:
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5)
        assert [p["loss"] for p in two.curve] == pytest.approx([p["loss"] for p in one.curve], abs=1e-5)
    assert not torch.equal(expected["image.1.running_var"], torch.ones(3))
    assert results[0][1].curve[-1]["loss"] < 0.5 * results[0][1].curve[0]["loss"]


@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_plans_have_their_own_rates_and_schedules(tmp_path: Path, clip_norm: float | None) -> None:
    """Against torch's Adam, schedulers and clipping of a model whose table is dense."""
    settings, initial, net = (replace(SETTINGS, clip_norm=clip_norm, keep="last"), make_net(), make_net().train())
    initial.table.sparse = net.table.sparse = False
    found, progress = train_toy(tmp_path, LocalContext(), settings, plans=two_plans, initial=initial)
    task, norms = ToyTask(), []
    adams = [torch.optim.Adam(plan.parameters, plan.rate, weight_decay=plan.weight_decay) for plan in two_plans(net)]
    for parameter in net.image.parameters():
        parameter.requires_grad_(False)
    for step in range(STEPS):
        terms = task.losses(net, batch_of(step))
        net.zero_grad()
        sum(t.coefficient * t.total / t.weight for t in terms.values()).backward()  # type: ignore[union-attr]
        bound = float("inf") if clip_norm is None else clip_norm
        norms.append(float(torch.nn.utils.clip_grad_norm_(net.parameters(), bound)))
        for adam, rate, schedule in zip(adams, (0.05, 0.01), SCHEDULES, strict=True):
            adam.param_groups[0]["lr"] = rate * schedule.factor(step, STEPS)
            adam.step()
    assert min(norms) > 0.3
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-4)
    assert torch.equal(found["image.0.weight"], make_net().image[0].weight)
    assert progress.best == 2 and progress.steps == STEPS


def test_lines_of_progress_come_between_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("roilake.training.trainer._QUIET_SECONDS", -1.0)
    with caplog.at_level(logging.INFO, "roilake.training.trainer"):
        _, progress = train_toy(tmp_path, LocalContext())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == STEPS and all(f"of {STEPS}" in line and "rows/s" in line for line in lines)
    validated = {int(point["step"]) for point in progress.validations}
    metric = next(name for name in progress.validations[0] if name != "step")
    assert {step for step, line in enumerate(lines, 1) if f"  {metric} " in line} == validated < {*range(1, STEPS + 1)}


def test_schedules_warm_up_and_decay() -> None:
    def factors(schedule: Schedule) -> list[float]:
        return [schedule.factor(step, 6) for step in range(6)]

    assert factors(Schedule()) == [1.0] * 6
    assert factors(Schedule(2)) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert factors(Schedule(2, "linear")) == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])
    assert factors(Schedule(2, "cosine")) == pytest.approx([1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_a_parameter_has_one_plan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a parameter is in two optimizer plans"):
        train_toy(tmp_path, LocalContext(), plans=lambda net: two_plans(net) + two_plans(net))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_run_that_was_cut_off_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaging: float
) -> None:
    settings = replace(SETTINGS, checkpoint_every=5, averaging=averaging, clip_norm=0.5)
    expected, whole = train_toy(tmp_path / "whole", LocalContext(), settings, plans=two_plans)
    save = Checkpoints.save

    def save_and_leave(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Checkpoints, "save", save_and_leave)
        train_toy(tmp_path / "cut", LocalContext(), settings, plans=two_plans)
    assert (tmp_path / "cut" / "5.json").exists()
    found, resumed = train_toy(tmp_path / "cut", LocalContext(), settings, plans=two_plans)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert resumed.validations == whole.validations
    assert [p["loss"] for p in resumed.curve] == [p["loss"] for p in whole.curve]


def kept(tmp_path: Path, metrics: list[dict[str, float]], **changes: Any) -> tuple[int, int, bool]:
    """The kept validation, the steps, and whether the kept weights are those after it, of scripted metrics."""
    select = changes.pop("select", "auc")
    task = {"metrics": dict(enumerate(metrics, start=1)), "select": select, "steps": 4 * len(metrics)}
    settings = replace(SETTINGS, **changes)
    weights, progress = train_toy(tmp_path / "run", LocalContext(), settings, **task)
    until = 4 * (progress.best + 1)
    then, _ = train_toy(tmp_path / "until", LocalContext(), settings, **{**task, "steps": until})
    return progress.best, progress.steps, all(torch.equal(weights[name], then[name]) for name in then)


AUCS = [{"auc": 0.6, "loss": 2.0}, {"auc": 0.7, "loss": 1.0}, {"auc": 0.7, "loss": 0.5}, {"auc": 0.2, "loss": 0.9}]


@pytest.mark.parametrize(("select", "best"), [("auc", 1), ("-loss", 2), ("loss", 0), ("auc+loss", 0), ("auc+-loss", 2)])
def test_any_validation_metric_chooses(tmp_path: Path, select: str, best: int) -> None:
    assert kept(tmp_path, AUCS, select=select) == (best, 16, True)


def test_the_last_weights_are_kept_on_demand_or_where_nothing_is_defined(tmp_path: Path) -> None:
    assert kept(tmp_path / "a", AUCS, keep="last") == (3, 16, True)
    assert kept(tmp_path / "b", AUCS, select="gauc") == (3, 16, True)
    late = [{}, {}, {"auc": 0.5}, {}, {"auc": 0.4}]
    assert kept(tmp_path / "c", late) == (2, 20, True)


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    falling = [{"auc": 0.5}, {"auc": 0.6}, {"auc": 0.4}, {"auc": 0.6}, {"auc": 0.9}]
    assert kept(tmp_path / "a", falling, patience=2) == (1, 16, True)
    assert kept(tmp_path / "b", falling, patience=3) == (4, 20, True)
    settings = replace(SETTINGS, patience=2, checkpoint_every=16)
    task: dict[str, Any] = {"metrics": dict(enumerate(falling, 1)), "select": "auc", "steps": 20}
    for _ in range(2):  # again from the checkpoint of the step at which it had ended
        _, progress = train_toy(tmp_path / "c", LocalContext(), settings, **task)
        assert (progress.best, progress.steps, len(progress.validations)) == (1, 16, 4)


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_determinism_is_a_task_s_own(tmp_path: Path, mode: Any) -> None:
    before, seen = torch.are_deterministic_algorithms_enabled(), []
    train_toy(tmp_path, LocalContext(), replace(SETTINGS, determinism=mode, mixed_precision=True), seen=seen)
    assert set(seen) == {(mode == "strict", False)}  # bfloat16 only where the device is a GPU
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_only_fast_rounds_products_and_convolutions_of_a_gpu(mode: Any) -> None:
    def rounds() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = rounds()
    with determinism(mode):
        assert rounds() == (mode == "fast",) * 2
    assert rounds() == before


def test_configs_reach_the_trainer() -> None:
    given: dict[str, Any] = {"determinism": "fast", "clip_norm": 2.0, "warmup_steps": 5, "decay": "linear"}
    given |= {"patience": 4, "mixed_precision": True}
    for section in (TrainingConfig(**given), ConversionTrainingConfig(**given)):
        settings = Settings.of("m", 3, section, keep="last")
        assert (settings.determinism, settings.clip_norm, settings.keep) == ("fast", 2.0, "last")
        assert (settings.name, settings.seed) == ("m", 3)
        assert (settings.patience, settings.mixed_precision) == (4, True)
        assert settings.checkpoint_every == section.checkpoint_every


def test_every_validation_is_a_line_of_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("roilake.training.trainer")
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        train_toy(tmp_path, LocalContext())
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert len(lines) == 3 and lines[0].startswith("toy  step 4 of 12  loss ") and "  error " in lines[0]


class Ranks(LocalContext):
    """Adds what the other rank would send."""

    def __init__(self, other: Tensor) -> None:
        super().__init__()
        self.other = other

    def allreduce(self, tensor: Tensor) -> None:
        tensor += self.other


def test_terms_are_divided_by_the_weights_of_all_ranks() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    terms = {
        "a": Term(total * 1, torch.tensor(2.0), 0.5),
        "figure": Term(torch.tensor(1.0), torch.tensor(4.0), 0.0),
        "empty": Term(torch.tensor(0.0), torch.tensor(0.0)),
    }
    part, divisor, values = reduce_terms(Ranks(torch.tensor([2.0, 3.0, 0.0, 6.0, 4.0, 0.0])), terms)
    assert values.tolist() == [1.0, 0.5, 0.0, 0.5] and divisor is None
    assert part.item() == pytest.approx(0.5 * 6 / 8)
    part.backward()
    assert total.grad is not None and total.grad.item() == pytest.approx(0.5 / 8)


def test_gradients_are_divided_in_place_of_the_loss() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    terms = {"a": Term(total * 1, torch.tensor(2.0))}
    part, divisor, values = reduce_terms(Ranks(torch.tensor([1.0, 5.0])), terms, True)
    assert divisor is not None and divisor.item() == 7.0
    assert part.item() == 6.0 and values.tolist() == [1.0, 1.0]
    part.backward()
    assert total.grad is not None and total.grad.item() == 1.0
