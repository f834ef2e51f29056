"""The model, its task for the trainer, its metric and its check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured
from roilake.training import Artifacts, Context, Feed, OptimizerPlan, Schedule, Term


def absolute_error(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean of |label - prediction|."""
    return float(np.abs(labels - predictions).mean())


@dataclass(frozen=True)
class LineTask:
    """y = a x + b, by least squares; the points [N] are the only batch."""

    x: Tensor
    y: Tensor
    steps: int
    select = "-absolute_error"

    def feed(self, context: Context) -> Feed[tuple[Tensor, Tensor]]:
        return Feed(lambda start: repeat((self.x, self.y)), self.steps, validate_every=50, rows=len(self.x))

    def model(self) -> nn.Module:
        return nn.Linear(1, 1)

    def losses(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Term]:
        x, y = batch
        error = (model(x[:, None])[:, 0] - y) ** 2
        return {"squared_error": Term(error.sum(), torch.tensor(float(len(y))))}

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        return [OptimizerPlan(list(model.parameters()), rate=0.1, schedule=Schedule(decay="cosine"))]

    def validate(self, model: nn.Module, context: Context) -> dict[str, float]:
        return {"absolute_error": absolute_error(self.y.numpy(), predict(model, self.x).numpy())}


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    return model(x[:, None])[:, 0]


def artifacts(inputs: LineTask, task: LineTask, model: nn.Module, folder: str) -> Artifacts:
    return {"slope": float(model.weight.detach()), "intercept": float(model.bias.detach())}, {}


def checks(lake: Lake, config: Any, ds: date, versions: Mapping[str, int], metrics: Measured) -> Iterator[GateResult]:
    """Every point has a prediction."""
    counts = [
        lake.to_arrow(table, versions[table], filters={"ds": ds}).num_rows for table in ("points", "point_predictions")
    ]
    yield GateResult("all_predicted", counts[0] == counts[1], f"{counts[1]} predictions of {counts[0]} points")
