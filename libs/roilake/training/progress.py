"""What a run has seen so far, and how it goes on from a checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from torch import Tensor, nn

from roilake.training.checkpoint import Checkpoints
from roilake.training.learner import Learner


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


def weights(model: nn.Module, learner: Learner) -> dict[str, Tensor]:
    """All that makes up the model: the parameters and the buffers."""
    return {**learner.weights(), **{f"buffer.{key}": value for key, value in model.named_buffers()}}


def load(model: nn.Module, learner: Learner, saved: dict[str, Tensor]) -> None:
    """Put saved ``weights`` back; nothing if there are none."""
    for key, tensor in weights(model, learner).items():
        if key in saved:
            tensor.copy_(saved[key])


def save(
    checkpoints: Checkpoints,
    model: nn.Module,
    learner: Learner,
    best: dict[str, Tensor],
    progress: Progress,
) -> None:
    """Write where the run stands."""
    tensors = {f"now.{key}": tensor for key, tensor in weights(model, learner).items()}
    tensors |= {f"best.{key}": tensor for key, tensor in best.items()}
    tensors |= {f"state.{key}": tensor for key, tensor in learner.state().items()}
    checkpoints.save(progress.steps, tensors, vars(progress))


def restore(
    checkpoints: Checkpoints, model: nn.Module, learner: Learner, best: dict[str, Tensor]
) -> Progress:
    """Put the last checkpoint back, or start anew."""
    found = checkpoints.latest()
    if found is None:
        return Progress()
    step, tensors, state = found

    def part(prefix: str) -> dict[str, Tensor]:
        chosen = {
            key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)
        }
        return {key: tensor.to(learner.device) for key, tensor in chosen.items()}

    load(model, learner, part("now."))
    best.update(part("best."))
    learner.restore(part("state."), step)
    print(f"training goes on from the checkpoint at step {step}", file=sys.stderr, flush=True)
    return Progress(**state)
