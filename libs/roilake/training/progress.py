"""What a run has seen so far, and how it goes on from a checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from roilake.models import TwinTower
from roilake.training.checkpoint import Checkpoints
from roilake.training.flat import Average, FlatParameters


@dataclass
class Progress:
    """What a run has seen so far; part of its checkpoint."""

    steps: int = 0
    best_epoch: int = -1
    best_score: float = float("-inf")
    curve: list[dict[str, float]] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def wait_fraction(self) -> float:
        """Part of the time of the training steps that was spent waiting for input."""
        return self.waited / self.seconds if self.seconds else 0.0


def weights(model: TwinTower, flat: FlatParameters) -> dict[str, Tensor]:
    """All that makes up the model: the flat parameters and the buffers."""
    return {"parameters": flat.data.data, **{f"buffer.{key}": value for key, value in model.named_buffers()}}


def load(model: TwinTower, flat: FlatParameters, saved: dict[str, Tensor]) -> None:
    """Put saved ``weights`` back; nothing if there are none."""
    for key, tensor in weights(model, flat).items():
        if key in saved:
            tensor.copy_(saved[key])


def save(
    checkpoints: Checkpoints,
    model: TwinTower,
    flat: FlatParameters,
    average: Average,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    progress: Progress,
) -> None:
    """Write where the run stands."""
    tensors = {f"now.{key}": tensor for key, tensor in weights(model, flat).items()}
    tensors |= {f"best.{key}": tensor for key, tensor in best.items()}
    tensors["average"] = average.data
    tensors |= {f"adam.{key}": tensor for key, tensor in optimizer.state[flat.data].items()}
    checkpoints.save(progress.steps, tensors, vars(progress))


def restore(
    checkpoints: Checkpoints,
    model: TwinTower,
    flat: FlatParameters,
    average: Average,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> Progress:
    """Put the last checkpoint back, or start anew."""
    found = checkpoints.latest()
    if found is None:
        return Progress()
    step, tensors, state = found

    def part(prefix: str) -> dict[str, Any]:
        chosen = {
            key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)
        }
        return {key: tensor.to(flat.data.device) for key, tensor in chosen.items()}

    load(model, flat, part("now."))
    best.update(part("best."))
    average.restore(tensors["average"].to(flat.data.device), step)
    optimizer.state[flat.data] = part("adam.")
    print(f"train_models  goes on from the checkpoint at step {step}", file=sys.stderr, flush=True)
    return Progress(**state)
