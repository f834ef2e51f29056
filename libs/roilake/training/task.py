"""What the trainer has to know of a model: its task, its optimizers, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, Protocol, TypeVar

from torch import Tensor, nn

from roilake.training.context import Context, Determinism

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Term:
    """One part of a loss: ``coefficient`` * sum_i w_i l_i / sum_i w_i. ``total`` is the numerator and ``weight`` the
    denominator (no gradient) on this rank, both scalars. Both are summed over ranks before the division, so that any
    number of workers takes the same step. A term with coefficient 0 is only reported."""

    total: Tensor
    weight: Tensor
    coefficient: float = 1.0


@dataclass(frozen=True)
class Feed(Generic[BatchT]):
    """This rank's batches: ``batches(n)`` are those from step n on, on the rank's device. ``steps`` is the length of
    the whole run, equal on all ranks; the model is validated every ``validate_every`` steps and after the last one.
    ``rows`` is the mean number of rows of a step over all ranks."""

    batches: Callable[[int], Iterable[BatchT]]
    steps: int
    validate_every: int
    rows: float


@dataclass(frozen=True)
class Schedule:
    """Factor of the learning rate at step t = 0, 1, ... of T, with W = ``warmup_steps``:

        min(1, (t + 1) / (W + 1)) d(u),  u = max(0, t - W) / max(1, T - W)

    d(u) = 1 (constant), 1 - u (linear) or (1 + cos pi u) / 2 (cosine)."""

    warmup_steps: int = 0
    decay: Literal["constant", "linear", "cosine"] = "constant"

    def factor(self, step: int, steps: int) -> float:
        """At step ``step`` of ``steps``."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        part = max(0, step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        if self.decay == "linear":
            return warm * (1.0 - part)
        return warm * (1.0 + math.cos(math.pi * part)) / 2 if self.decay == "cosine" else warm


@dataclass(frozen=True)
class OptimizerPlan:
    """Adam on some parameters at ``rate`` times the schedule's factor. ``weight_decay`` times the weights is added to
    their gradient, as ``torch.optim.Adam`` does. Each of an adversarial pair has its plan; a parameter of no plan is
    fixed."""

    parameters: Sequence[nn.Parameter]
    rate: float
    schedule: Schedule = Schedule()
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How the trainer works, whatever the model.

    ``keep``: the weights of the best validation, or the last ones. ``patience``: stop after so many validations
    without a better one. ``averaging``: decay of the exponential average of the weights over steps, which is validated
    and kept; 0: none. ``clip_norm``: greatest norm of all gradients of a step together. ``mixed_precision``: losses in
    bfloat16 where the device is a GPU. ``one_thread``: for tensors so small that a second thread costs more than it
    gives. ``divide_gradients``: take the first term's weight out of the loss and divide the summed gradients by it;
    equal but for rounding.
    """

    name: str
    seed: int
    checkpoint_every: int
    keep: Literal["best", "last"] = "best"
    patience: int | None = None
    averaging: float = 0.0
    clip_norm: float | None = None
    mixed_precision: bool = False
    determinism: Determinism = "strict"
    one_thread: bool = False
    divide_gradients: bool = False

    @classmethod
    def of(cls, name: str, seed: int, section: object, **changes: Any) -> Settings:
        """Those that a section of a config has keys for, and ``changes``."""
        known = {f.name: getattr(section, f.name) for f in fields(cls) if hasattr(section, f.name)}
        return cls(**{**known, **changes, "name": name, "seed": seed})


class Task(Protocol[BatchT]):
    """A model to train. ``validate`` must give all ranks the same values, and may leave out what is not defined.

    ``select`` names the validation metric whose best value chooses the kept weights: ``auc``, the sum of several
    (``auc+hit_rate@50``), or ``-log_loss`` where less is better."""

    @property
    def select(self) -> str:
        """What chooses the kept weights."""

    def feed(self, context: Context) -> Feed[BatchT]:
        """This rank's batches."""

    def model(self) -> nn.Module:
        """The model before its first step, with the same weights on every rank."""

    def losses(self, model: nn.Module, batch: BatchT) -> Mapping[str, Term]:
        """The terms of a batch's loss, always the same names in the same order."""

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        """What learns which parameters, and how fast."""

    def validate(self, model: nn.Module, context: Context) -> dict[str, float]:
        """Metrics by name."""
