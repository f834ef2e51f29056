"""What a run has seen so far, and how it goes on from a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from roilake.training.checkpoint import Checkpoints
from roilake.training.optimizers import Optimizers, part

_LOG = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a run has seen so far; part of its checkpoint. ``best`` is the number of the kept validation, -1 before the
    first one. ``curve`` holds the loss and its terms, ``validations`` the metrics, both by step."""

    steps: int = 0
    best: int = -1
    best_score: float = float("-inf")
    curve: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def wait_fraction(self) -> float:
        """Part of the time of the training steps that was spent waiting for input."""
        return self.waited / self.seconds if self.seconds else 0.0

    def stalled(self, patience: int | None) -> bool:
        """True after ``patience`` validations without a better one."""
        return patience is not None and len(self.validations) - 1 - self.best >= patience

    def as_curve(self) -> dict[str, Any]:
        """What ``curve.json`` holds."""
        return {"steps": self.curve, "validations": self.validations, "best": self.best}

    def figures(self, rows: float) -> dict[str, Any]:
        """The run in some numbers, ``rows`` a step. ``metrics`` are those of the kept weights; ``terms`` are means of
        the loss and of each of its terms over the last tenth of the curve."""
        best = self.validations[self.best] if self.validations else {}
        tail = self.curve[-max(1, len(self.curve) // 10) :]
        names = [name for name in (tail[0] if tail else {}) if name not in ("step", "seconds")]
        return {
            "metrics": {key: value for key, value in best.items() if key != "step"},
            "best_step": best.get("step"),
            "terms": {name: sum(point[name] for point in tail) / len(tail) for name in names},
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.steps * rows / self.seconds, 1) if self.seconds else 0.0,
            "wait_fraction": round(self.wait_fraction, 5),
        }


def weights(model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    """All that makes up the model: the parameters and the buffers."""
    return {**optimizers.weights(), **{f"buffer.{key}": value for key, value in model.named_buffers()}}


def load(model: nn.Module, optimizers: Optimizers, saved: dict[str, Tensor]) -> None:
    """Put saved ``weights`` back."""
    for key, tensor in weights(model, optimizers).items():
        tensor.copy_(saved[key])


def save(
    checkpoints: Checkpoints,
    model: nn.Module,
    optimizers: Optimizers,
    best: dict[str, Tensor],
    progress: Progress,
) -> None:
    """Write where the run stands."""
    tensors = {f"now.{key}": tensor for key, tensor in weights(model, optimizers).items()}
    tensors |= {f"best.{key}": tensor for key, tensor in best.items()}
    tensors |= {f"state.{key}": tensor for key, tensor in optimizers.state().items()}
    checkpoints.save(progress.steps, tensors, vars(progress))


def restore(
    checkpoints: Checkpoints, model: nn.Module, optimizers: Optimizers, best: dict[str, Tensor]
) -> Progress:
    """Put the last checkpoint back, or start anew."""
    found = checkpoints.latest()
    if found is None:
        return Progress()
    step, tensors, state = found
    load(model, optimizers, part(tensors, "now."))
    best.update(part(tensors, "best."))
    optimizers.restore(part(tensors, "state."))
    _LOG.info("training goes on from the checkpoint at step %d", step)
    return Progress(**state)
