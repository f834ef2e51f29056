"""All that a step changes: a model's parameters, the states of its optimizers and the averages of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.sparse import BETAS, EPSILON, Decay, RowTables, replaced
from roilake.training.task import OptimizerPlan


class DenseParameters:
    """Parameters as one float32 vector ``data`` [n] that they stay views of, gradients likewise: one allreduce and one
    step, however many layers. Adam; and the exponential average over steps a <- a + (1 - m) (w - a), m as ``Decay``
    says, which evens out what the last steps pull (Polyak and Juditsky 1992)."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float, weight_decay: float = 0.0) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        vector = nn.Parameter(torch.cat([p.detach().reshape(-1).float() for p in parameters]))
        self.data, self.gradient = vector.detach(), torch.zeros_like(vector.detach())
        vector.grad = self.gradient
        views = zip(self.data.split(sizes), self.gradient.split(sizes), parameters, strict=True)
        for data, grad, parameter in views:
            parameter.data, parameter.grad = data.view_as(parameter), grad.view_as(parameter)
        self._vector, self._decay, self._average = vector, Decay(decay), self.data.clone()
        self._adam = torch.optim.Adam([vector], betas=BETAS, eps=EPSILON, weight_decay=weight_decay, fused=True)

    def zero_grad(self) -> None:
        self.gradient.zero_()

    def reduce(self, context: Context) -> None:
        """Sum the gradient over all ranks."""
        context.allreduce(self.gradient)

    def step(self, step: int, rate: float) -> None:
        """Step 0, 1, ..."""
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._average.lerp_(self.data, 1.0 - self._decay.kept(step))

    def averaged(self, step: int) -> AbstractContextManager[None]:
        """Let the parameters be their averages for a while."""
        return replaced(self.data, self._average)

    def state(self) -> dict[str, Tensor]:
        """All beside ``data`` that the next step depends on."""
        return {"average": self._average, **self._adam.state[self._vector]}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put ``state`` back."""
        self._average.copy_(state["average"])
        device = self.data.device
        self._adam.state[self._vector] = {k: v.to(device) for k, v in state.items() if k != "average"}


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
