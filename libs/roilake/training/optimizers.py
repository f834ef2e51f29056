"""All that a step changes: a model's parameters, the states of its optimizers and the averages of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.dense import DenseParameters
from roilake.training.sparse import RowTables
from roilake.training.task import OptimizerPlan


class Optimizers:
    """The optimizers of a task: of each plan the dense parameters as one vector, and embeddings with ``sparse=True`` by
    row, all tables of a width together. Raises ValueError where two plans have a parameter in common."""

    def __init__(self, model: nn.Module, plans: Sequence[OptimizerPlan], averaging: float) -> None:
        ids = [id(parameter) for plan in plans for parameter in plan.parameters]
        if len(set(ids)) < len(ids):
            raise ValueError("a parameter is in two optimizer plans: give it to one")
        sparse = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse}
        self._averaging = averaging
        self._groups: list[tuple[OptimizerPlan, DenseParameters | RowTables]] = []
        for plan in plans:
            learnt = [parameter for parameter in plan.parameters if parameter.requires_grad]
            tables = [parameter for parameter in learnt if id(parameter) in sparse]
            if dense := [parameter for parameter in learnt if id(parameter) not in sparse]:
                self._groups.append((plan, DenseParameters(dense, averaging, plan.weight_decay)))
            for width in sorted({table.shape[1] for table in tables}):
                of_width = [table for table in tables if table.shape[1] == width]
                self._groups.append((plan, RowTables(of_width, averaging, plan.weight_decay)))

    def zero_grad(self) -> None:
        for _, group in self._groups:
            group.zero_grad()

    def reduce(self, context: Context, divisor: Tensor | None, clip_norm: float | None) -> None:
        """Sum the gradients over all ranks, divide them, and scale them down to ``clip_norm``, a bound of the norm of
        all of them together."""
        for _, group in self._groups:
            group.reduce(context)
            if divisor is not None:
                group.gradient /= divisor
        if clip_norm is not None:
            norm = torch.stack([group.gradient.norm() for _, group in self._groups]).norm()
            for _, group in self._groups:
                group.gradient *= (clip_norm / norm).clamp(max=1.0)

    def step(self, step: int, steps: int) -> None:
        """Step 0, 1, ... of ``steps``."""
        for plan, group in self._groups:
            group.step(step, plan.rate * plan.schedule.factor(step, steps))

    @contextmanager
    def averaged(self, step: int) -> Iterator[None]:
        """Let the model hold the averages after ``step`` steps for a while."""
        with ExitStack() as stack:
            for _, group in self._groups if self._averaging else ():
                stack.enter_context(group.averaged(step))
            yield

    def weights(self) -> dict[str, Tensor]:
        """The parameters."""
        return {str(number): group.data for number, (_, group) in enumerate(self._groups)}

    def state(self) -> dict[str, Tensor]:
        """All beside ``weights`` and the number of steps that the next step depends on."""
        states = [group.state() for _, group in self._groups]
        return {f"{n}.{key}": value for n, state in enumerate(states) for key, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put ``state`` back."""
        for number, (_, group) in enumerate(self._groups):
            group.restore(part(state, f"{number}."))


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
