"""All that a step changes: a model's parameters, its optimizer's state and the average of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from roilake.training.context import Context
from roilake.training.flat import Average, FlatParameters
from roilake.training.sparse import BETAS, EPSILON, RowTables


class Learner:
    """Adam and averaging for a model: dense parameters as one vector, embeddings with ``sparse=True`` by row.

    ``weight_decay`` times the weights is added to their gradient (as ``torch.optim.Adam`` does; in embeddings by row,
    on the rows that a step touches).
    """

    def __init__(
        self, model: nn.Module, learning_rate: float, averaging: float, weight_decay: float = 0.0
    ) -> None:
        embeddings = [part for part in model.modules() if isinstance(part, nn.Embedding)]
        tables = [cast(nn.Parameter, part.weight) for part in embeddings if part.sparse]
        widths = sorted({table.shape[1] for table in tables})
        self._rows = {
            width: RowTables(
                [t for t in tables if t.shape[1] == width], learning_rate, averaging, weight_decay
            )
            for width in widths
        }
        sparse = {id(table) for table in tables}
        dense = [p for p in model.parameters() if p.requires_grad and id(p) not in sparse]
        self._flat = FlatParameters(dense)
        self._average = Average(self._flat, averaging)
        self._adam = torch.optim.Adam(
            [self._flat.data],
            lr=learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=weight_decay,
            fused=True,
        )
        self._step = 0

    @property
    def device(self) -> torch.device:
        return self._flat.data.device

    def broadcast(self, context: Context) -> None:
        """Start from rank 0's weights."""
        for tensor in self.weights().values():
            context.broadcast(tensor)

    def zero_grad(self) -> None:
        self._flat.zero_grad()
        for tables in self._rows.values():
            tables.zero_grad()

    def step(self, context: Context, loss_sum: Tensor, weight_sum: Tensor) -> float:
        """Take the step of the gradients (of the *sum* of the weighted losses), those of all ranks added up and divided
        by the sum of the weights. Returns the weighted mean loss of the global batch."""
        gradients = [tables.gradient(context) for tables in self._rows.values()]
        loss, weight = self._flat.reduce(context, loss_sum, weight_sum)
        self._adam.step()
        self._average.update()
        for tables, (ids, rows) in zip(self._rows.values(), gradients, strict=True):
            tables.update(ids, rows / weight, self._step)
        self._step += 1
        return loss

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model hold the averaged weights for a while."""
        with ExitStack() as stack:
            stack.enter_context(self._average.in_place())
            for tables in self._rows.values():
                stack.enter_context(tables.averaged(self._step))
            yield

    def weights(self) -> dict[str, Tensor]:
        """The parameters."""
        rows = {f"rows.{width}": tables.data for width, tables in self._rows.items()}
        return {"parameters": self._flat.data.data, **rows}

    def state(self) -> dict[str, Tensor]:
        """All beside ``weights`` that the next step depends on."""
        state = {f"adam.{key}": tensor for key, tensor in self._adam.state[self._flat.data].items()}
        for width, tables in self._rows.items():
            state |= {f"rows.{width}.{key}": tensor for key, tensor in tables.state().items()}
        return {"average": self._average.data, **state}

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on from a checkpoint after ``step`` steps."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(prefix): value.to(self.device)
                for key, value in state.items()
                if key.startswith(prefix)
            }

        self._step = step
        self._average.restore(state["average"].to(self.device), step)
        self._adam.state[self._flat.data] = part("adam.")
        for width, tables in self._rows.items():
            tables.restore(part(f"rows.{width}."))
