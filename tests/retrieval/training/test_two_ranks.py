"""Two ranks at half the batch are one rank at the whole, for the towers of the suite: no weight follows the rounding
noise of a gradient that is 0, which Adam would turn into whole steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.models import RequestBatch, TwinTower, build
from roilake.pipelines.retrieval.training.inputs import Step
from roilake.pipelines.retrieval.training.task import loss_of
from roilake.training import Checkpoints, Context, Feed, LocalContext, OptimizerPlan, Settings, Term, train
from tests.retrieval.models.test_models import DIM, ITEM, REQUEST, SCHEMA, SIZES, features, items, requests
from tests.retrieval.training.data import TRAINING
from tests.training.toy import on_ranks

ROWS, STEPS = 32, 40
SETTINGS = Settings.of("towers", 3, TRAINING, averaging=0.0, divide_gradients=True)
TOWERS: list[tuple[str, dict[str, Any]]] = [
    ("zoomer", {}),
    ("zoomer", {"neighbours": "frozen"}),
    ("zoomer", {"towers": "paper"}),
    ("zoomer", {"user_ids": "learned", "feature_attention": False}),
    ("graphsage", {}),
    ("no_graph", {}),
    ("sasrec", {"dropout": 0.0}),
    ("gru4rec", {}),
]


def drawn() -> Step:
    """One step of all ranks. A few rows only pad it."""
    batch = requests(ROWS)
    positive_B1 = torch.randint(0, SIZES["item"], (ROWS, 1))
    batch = replace(batch, weight_B=(torch.rand(ROWS) > 0.1).float())
    return Step(0, 0, batch, items(), features(), positive_B1, torch.zeros(SIZES["item"]))


def rows(step: Step, own: slice) -> Step:
    mine = {field.name: getattr(step.requests, field.name)[own] for field in fields(RequestBatch)}
    return replace(step, requests=RequestBatch(**mine), positive_BP=step.positive_BP[own])


@dataclass(frozen=True)
class TowerTask:
    """A tower that learns from these steps."""

    tower: TwinTower
    steps: Sequence[Step]
    select: str = "-loss"

    def feed(self, context: Context) -> Feed[Step]:
        size = ROWS // context.workers
        own = slice(context.rank * size, (context.rank + 1) * size)

        def batches(first: int) -> Iterator[Step]:
            return (rows(step, own) for step in self.steps[first:])

        return Feed(batches, len(self.steps), len(self.steps), ROWS)

    def model(self) -> nn.Module:
        return copy.deepcopy(self.tower)

    def losses(self, model: nn.Module, batch: Step) -> dict[str, Term]:
        loss_B, weight_B = loss_of(model, batch, "softmax"), batch.requests.weight_B
        return {"loss": Term((loss_B * weight_B).sum(), weight_B.sum())}

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        return [OptimizerPlan(list(model.parameters()), 5e-3)]

    def validate(self, model: nn.Module, context: Context) -> dict[str, float]:
        return {}


@pytest.mark.parametrize(("kind", "options"), TOWERS)
def test_two_ranks_are_one(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(2)
    task = TowerTask(build(kind, {"dim": DIM, **options}, SCHEMA, REQUEST, ITEM), [drawn() for _ in range(STEPS)])

    def learnt(context: Context) -> tuple[list[float], dict[str, Tensor]]:
        model, progress = train(task, context, Checkpoints(tmp_path / f"{context.workers}", "k"), SETTINGS)
        return [point["loss"] for point in progress.curve], model.state_dict()

    losses, weights = learnt(LocalContext())
    of_two, weights_of_two = on_ranks(learnt)[0]
    assert len(losses) == STEPS and len(set(losses)) == STEPS
    torch.testing.assert_close(torch.tensor(of_two), torch.tensor(losses), rtol=0, atol=1e-5)
    moved = {name: float((weights_of_two[name] - weights[name]).abs().max()) for name in weights}
    assert max(moved.values()) < 1e-4, max(moved.items(), key=lambda found: found[1])
