"""The trainer, the same for every task, on one rank and on many: read it top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from roilake.feed.prefetch import Prefetch
from roilake.hashing import keyed_hash
from roilake.training.batch_norm import convert_batch_norm
from roilake.training.context import Context, determinism, threads
from roilake.training.optimizers import Optimizers
from roilake.training.progress import Checkpoints, Progress, State
from roilake.training.task import BatchT, Feed, Settings, Task, Term

CURVE_POINTS = 200
_QUIET_SECONDS = 60.0  # between lines of progress, about
_LOG = logging.getLogger(__name__)


def train(
    task: Task[BatchT], context: Context, checkpoints: Checkpoints, settings: Settings
) -> tuple[nn.Module, Progress]:
    """Train the task's model and return it with the weights of its best validation (see ``Settings.keep``; the last
    ones where ``Task.select`` is never defined). Every rank calls this with its own context.

    Goes on from the last checkpoint, if there is one, with the same result as a run that was never cut off."""
    feed = task.feed(context)
    model = convert_batch_norm(task.model().to(context.device).train(), context)
    if not feed.steps:
        return model, Progress()
    optimizers = Optimizers(model, task.optimizers(model), settings.averaging)
    state = State(model, optimizers)
    state.restore(checkpoints)
    progress = state.progress
    for tensor in state.weights().values():
        context.broadcast(tensor)
    mixed = settings.mixed_precision and context.device.type == "cuda"

    with (
        determinism(settings.determinism),
        threads(1) if settings.one_thread else nullcontext(),
        Prefetch(feed.batches(progress.steps)) as batches,
    ):
        started, waited = time.perf_counter(), 0.0
        told = started
        for step, batch in zip(_steps(progress, feed.steps, settings.patience), batches, strict=False):
            optimizers.zero_grad()
            _seed(int(keyed_hash(settings.seed, step, context.rank)), context.device)
            with torch.autocast(context.device.type, torch.bfloat16, enabled=mixed):
                terms = task.losses(model, batch)
            loss, divisor, values = reduce_terms(context, terms, settings.divide_gradients)
            loss.backward()
            optimizers.reduce(context, divisor, settings.clip_norm)
            optimizers.step(step, feed.steps)

            progress.steps += 1
            ends = progress.steps == feed.steps
            shows = ends or progress.steps % max(1, feed.steps // CURVE_POINTS) == 0
            validates = ends or progress.steps % feed.validate_every == 0
            found = values.tolist() if shows or validates else []  # waits for a GPU, whose time belongs to the steps
            progress.seconds += time.perf_counter() - started
            progress.waited += batches.waited - waited
            if shows:
                point = dict(zip((*terms, "loss"), found, strict=True))
                progress.curve.append({"step": progress.steps, "seconds": progress.seconds, **point})
            if validates:
                with optimizers.averaged(progress.steps):
                    metrics, last = task.validate(model, context), settings.keep == "last"
                    if progress.validated(metrics, task.select, last=last) and not last:
                        state.keep()
            if context.rank == 0 and (validates or (shows and time.perf_counter() - told > _QUIET_SECONDS)):
                _LOG.info("%s  %s", settings.name, _line(progress, feed))
                told = time.perf_counter()
            if context.rank == 0 and progress.steps % settings.checkpoint_every == 0:
                state.save(checkpoints)
            started, waited = time.perf_counter(), batches.waited

        if not state.best:
            with optimizers.averaged(progress.steps):
                state.keep()
        state.load(state.best)
    return model, progress


def reduce_terms(
    context: Context, terms: Mapping[str, Term], divide_gradients: bool = False
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The loss L = sum_k c_k (sum_i w_i l_i) / (sum_i w_i) of K terms, by one sum over ranks of 2 K numbers. A term
    without weight counts 0.

    Returns this rank's part of d L, whose gradients add up over ranks; the divisor d (None: 1), the first term's weight
    if gradients are to be divided; and the means of all terms and L, [K + 1]."""
    each = terms.values()
    sums = torch.stack([term.total.detach().float() for term in each] + [term.weight.float() for term in each])
    context.allreduce(sums)
    total_K, weight_K = sums.chunk(2)
    divisor = torch.where(weight_K[0] > 0, weight_K[0], 1.0) if divide_gradients else None
    scale_K = torch.where(weight_K > 0, (1.0 if divisor is None else divisor) / weight_K, 0.0)
    mean_K = total_K * torch.where(weight_K > 0, 1 / weight_K, 0.0)
    coefficient_K, learnt = _coefficients(tuple(term.coefficient for term in each), scale_K.device)
    scale_K = scale_K * coefficient_K
    parts = [term.total * scale for term, scale in zip(each, scale_K.unbind(), strict=True) if term.coefficient]
    value = (total_K * scale_K)[learnt].sum()
    value = value if divisor is None else value / divisor
    return torch.stack(parts).sum(), divisor, torch.cat([mean_K, value[None]])


def _seed(seed: int, device: torch.device) -> None:
    """Seed what a step draws from. ``torch.manual_seed`` asks for every other kind of device too: a tenth of a
    millisecond."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@lru_cache
def _coefficients(coefficients: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The coefficients as float32, and the numbers of those that are not 0; copied to a GPU once."""
    learnt = [number for number, coefficient in enumerate(coefficients) if coefficient]
    return torch.tensor(coefficients, device=device), torch.tensor(learnt, device=device)


def _steps(progress: Progress, steps: int, patience: int | None) -> Iterator[int]:
    """Numbers of the steps that are left, until ``patience`` validations were no better than the best before."""
    while progress.steps < steps:
        if patience is not None and len(progress.validations) - 1 - progress.best >= patience:
            return
        yield progress.steps


def _line(progress: Progress, feed: Feed[Any]) -> str:
    """Where the run stands; with what validation said, if it was at this step."""
    last = progress.validations[-1] if progress.validations else {}
    validated = last if last.get("step") == progress.steps else {}
    shown = "".join(f"  {key} {value:.4f}" for key, value in validated.items() if key != "step")
    loss = f"  loss {progress.curve[-1]['loss']:.4f}" if progress.curve else ""
    rate = f"{progress.steps * feed.rows / max(progress.seconds, 1e-3):,.0f} rows/s"
    waiting = f"{progress.seconds:.1f} s  {rate}  waiting {100 * progress.wait_fraction:.1f} %"
    return f"step {progress.steps} of {feed.steps}{loss}{shown}  {waiting}"
