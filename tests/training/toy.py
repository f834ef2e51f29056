"""A small task with batch normalisation, and ranks that are threads of one process."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from roilake.training import Checkpoints, Context, Feed, OptimizerPlan, Progress, Settings, Term, train
from roilake.training.context import determinism

T = TypeVar("T")
ROWS, STEPS = 16, 12
CPU = torch.device("cpu")
SETTINGS = Settings("toy", seed=0, checkpoint_every=100, one_thread=True)
Batch = tuple[Tensor, Tensor, Tensor]  # images [B, 1, 4, 4], categories [B], targets [B]


class Net(nn.Module):
    """A convolution and a sparse table, each with batch normalisation, and a linear head. No bias before a
    normalisation: its gradient is rounding error, which Adam would blow up."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.table, self.norm = nn.Embedding(7, 4, sparse=True), nn.BatchNorm1d(4)
        self.head = nn.Linear(16, 1)

    def forward(self, images: Tensor, categories_B: Tensor) -> Tensor:
        parts = [self.image(images), self.norm(self.table(categories_B))]
        logit_B1: Tensor = self.head(torch.cat(parts, dim=1))
        return logit_B1.squeeze(1)


_DRAWING = threading.Lock()
"""Ranks that are threads share torch's generator."""


def make_net(seed: int = 0) -> Net:
    with _DRAWING, torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def batch_of(step: int, device: torch.device = CPU) -> Batch:
    """The global batch of a step; the last rows of odd steps weigh nothing (see ``ToyTask.losses``)."""
    draw = torch.Generator().manual_seed(step)
    images = torch.randn(ROWS, 1, 4, 4, generator=draw)
    categories_B = torch.randint(0, 7, (ROWS,), generator=draw)
    target_B = images.mean(dim=(1, 2, 3)) + 0.3 * categories_B
    return images.to(device), categories_B.to(device), target_B.to(device)


@dataclass
class ToyTask:
    """Least squares. Ranks but the first start from other weights, which must not matter."""

    steps: int = STEPS
    validate_every: int = 4
    select: str = "-error"
    plans: Callable[[Any], Sequence[OptimizerPlan]] = lambda net: [OptimizerPlan(list(net.parameters()), 0.05)]
    metrics: Mapping[int, dict[str, float]] | None = None  # by number of the validation; default: the error
    seen: list[tuple[bool, bool]] = field(default_factory=list)  # deterministic, autocast at each step
    initial: Net = field(default_factory=make_net)
    rank: int = 0

    def feed(self, context: Context) -> Feed[Batch]:
        self.rank = context.rank

        def batches(first: int) -> Iterator[Batch]:
            size = ROWS // context.workers
            own = slice(context.rank * size, (context.rank + 1) * size)
            for step in range(first, self.steps):
                images, categories_B, target_B = batch_of(step, context.device)
                yield images[own], categories_B[own], target_B[own]

        return Feed(batches, self.steps, self.validate_every, ROWS)

    def model(self) -> nn.Module:
        return copy.deepcopy(self.initial) if self.rank == 0 else make_net(seed=1)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        self.seen.append((torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu")))
        images, categories_B, target_B = batch
        weight_B = 1.0 + (categories_B > 3)
        squared_B = (model(images, categories_B) - target_B) ** 2
        return {
            "error": Term((weight_B * squared_B).sum(), weight_B.sum()),
            "size": Term(squared_B.new_tensor(0.0) + model.head.weight.square().sum(), squared_B.new_tensor(1.0), 0.1),
        }

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        return self.plans(model)

    def validate(self, model: nn.Module, context: Context) -> dict[str, float]:
        if self.metrics is not None:
            return self.metrics.get(len(self.seen) // self.validate_every, {})
        images, categories_B, target_B = batch_of(1000, context.device)
        with torch.no_grad():
            error = (model.eval()(images, categories_B) - target_B).square().mean()
        model.train()
        return {"error": float(error)}


def train_toy(
    folder: Path, context: Context, settings: Settings = SETTINGS, **task: Any
) -> tuple[dict[str, Tensor], Progress]:
    """Final parameters and buffers, and the progress."""
    model, progress = train(ToyTask(**task), context, Checkpoints(folder, "k"), settings)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, progress


@dataclass
class Exchange:
    """What ranks in threads exchange tensors through."""

    barrier: threading.Barrier
    parts: list[Tensor]

    def gather(self, rank: int, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in their order."""
        self.parts[rank] = tensor.detach().clone()
        self.barrier.wait()
        found = list(self.parts)
        self.barrier.wait()
        return found


@dataclass
class ThreadContext:
    """A rank that is a thread."""

    rank: int
    workers: int
    exchange: Exchange
    device: torch.device = CPU

    def allreduce(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self.exchange.gather(self.rank, tensor)).sum(dim=0))

    def broadcast(self, tensor: Tensor) -> None:
        tensor.copy_(self.exchange.gather(self.rank, tensor)[0])

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        return [torch.cat(self.exchange.gather(self.rank, each)) for each in rows]


def on_ranks(function: Callable[[Context], T], workers: int = 2) -> list[T]:
    """What ``function`` returns on each rank. A rank that fails ends the others."""
    exchange = Exchange(threading.Barrier(workers, timeout=30), [torch.empty(0)] * workers)

    def rank(number: int) -> T:
        try:
            return function(ThreadContext(number, workers, exchange))
        except BaseException:
            exchange.barrier.abort()
            raise

    # Around all threads: the state that it sets and restores is the process's own
    with determinism("strict"), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(rank, range(workers)))
