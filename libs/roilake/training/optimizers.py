"""All that a step changes: a model's parameters, the states of its optimizers and the averages of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.flat import Average, FlatParameters
from roilake.training.sparse import BETAS, EPSILON, RowTables
from roilake.training.task import OptimizerPlan


class OptimizerState:
    """Adam and averaging of the parameters of a plan: dense ones as one vector; those whose id is in ``sparse``
    (weights of embeddings with ``sparse=True``) by row, all tables of a width together."""

    def __init__(self, plan: OptimizerPlan, sparse: set[int], averaging: float) -> None:
        learnt = [parameter for parameter in plan.parameters if parameter.requires_grad]
        tables = [parameter for parameter in learnt if id(parameter) in sparse]
        self._plan, self._averaging = plan, averaging
        self._rows = {
            width: RowTables([t for t in tables if t.shape[1] == width], averaging, plan.weight_decay)
            for width in sorted({table.shape[1] for table in tables})
        }
        dense = [parameter for parameter in learnt if id(parameter) not in sparse]
        self._flat = FlatParameters(dense, plan.parameters[0].device)
        self._average = Average(self._flat, averaging)
        self._adam = torch.optim.Adam(
            [self._flat.data], betas=BETAS, eps=EPSILON, weight_decay=plan.weight_decay, fused=True
        )
        self._gradients: dict[int, tuple[Tensor, Tensor]] = {}  # of the touched rows by width: ids, rows

    def zero_grad(self) -> None:
        self._flat.gradient.zero_()
        for tables in self._rows.values():
            tables.zero_grad()

    def reduce(self, context: Context, divisor: Tensor | None) -> None:
        """Sum the gradients over all ranks, and divide them."""
        self._gradients = {width: tables.gradient(context) for width, tables in self._rows.items()}
        context.allreduce(self._flat.gradient)
        if divisor is not None:
            self._flat.gradient /= divisor
            self._gradients = {width: (ids, rows / divisor) for width, (ids, rows) in self._gradients.items()}

    def gradients(self) -> list[Tensor]:
        return [self._flat.gradient, *(rows for _, rows in self._gradients.values())]

    def step(self, step: int, steps: int) -> None:
        """Step 0, 1, ... of ``steps``."""
        rate = self._plan.rate * self._plan.schedule.factor(step, steps)
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._average.update(step)
        for width, (ids, rows) in self._gradients.items():
            self._rows[width].update(ids, rows, step, rate)

    @contextmanager
    def averaged(self, step: int) -> Iterator[None]:
        """Let the model hold the averages after ``step`` steps for a while."""
        with ExitStack() as stack:
            if self._averaging:
                stack.enter_context(self._average.in_place())
                for tables in self._rows.values():
                    stack.enter_context(tables.averaged(step))
            yield

    def weights(self) -> dict[str, Tensor]:
        rows = {f"rows.{width}": tables.data for width, tables in self._rows.items()}
        return {"parameters": self._flat.data.data, **rows}

    def state(self) -> dict[str, Tensor]:
        """All beside ``weights`` and the number of steps that the next step depends on."""
        state = {f"adam.{key}": tensor for key, tensor in self._adam.state[self._flat.data].items()}
        for width, tables in self._rows.items():
            state |= {f"rows.{width}.{key}": tensor for key, tensor in tables.state().items()}
        return {"average": self._average.data, **state}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._average.data.copy_(state["average"])
        device = self._flat.data.device
        self._adam.state[self._flat.data] = {k: v.to(device) for k, v in part(state, "adam.").items()}
        for width, tables in self._rows.items():
            tables.restore(part(state, f"rows.{width}."))


class Optimizers:
    """The optimizers of a task, one a plan. Raises ValueError where two plans have a parameter in common."""

    def __init__(self, model: nn.Module, plans: Sequence[OptimizerPlan], averaging: float) -> None:
        ids = [id(parameter) for plan in plans for parameter in plan.parameters]
        if len(set(ids)) < len(ids):
            raise ValueError("a parameter is in two optimizer plans: give it to one")
        sparse = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse}
        self._states = [OptimizerState(plan, sparse, averaging) for plan in plans]

    def zero_grad(self) -> None:
        for state in self._states:
            state.zero_grad()

    def reduce(self, context: Context, divisor: Tensor | None, clip_norm: float | None) -> None:
        """Sum the gradients over all ranks, divide them, and scale them down to ``clip_norm``, a bound of the norm of
        all of them together."""
        for state in self._states:
            state.reduce(context, divisor)
        if clip_norm is not None:
            gradients = [gradient for state in self._states for gradient in state.gradients()]
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            for gradient in gradients:
                gradient *= (clip_norm / norm).clamp(max=1.0)

    def step(self, step: int, steps: int) -> None:
        """Step 0, 1, ... of ``steps``."""
        for state in self._states:
            state.step(step, steps)

    @contextmanager
    def averaged(self, step: int) -> Iterator[None]:
        """Let the model hold the averages after ``step`` steps for a while."""
        with ExitStack() as stack:
            for state in self._states:
                stack.enter_context(state.averaged(step))
            yield

    def weights(self) -> dict[str, Tensor]:
        return {f"{n}.{key}": value for n, s in enumerate(self._states) for key, value in s.weights().items()}

    def state(self) -> dict[str, Tensor]:
        return {f"{n}.{key}": value for n, s in enumerate(self._states) for key, value in s.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for number, each in enumerate(self._states):
            each.restore(part(state, f"{number}."))


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
