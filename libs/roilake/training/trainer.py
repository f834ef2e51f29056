"""The trainer, the same for every task, on one rank and on many: read it top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roilake.feed.prefetch import Prefetch
from roilake.hashing import keyed_hash
from roilake.training.batch_norm import convert_batch_norm
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context, determinism, threads
from roilake.training.optimizers import Optimizers
from roilake.training.progress import Progress, load, restore, save, weights
from roilake.training.task import BatchT, Settings, Task, Term

CURVE_POINTS = 200
_LOG = logging.getLogger(__name__)


def train(
    task: Task[BatchT], context: Context, checkpoints: Checkpoints, settings: Settings
) -> tuple[nn.Module, Progress]:
    """Train the task's model and return it with the weights of its best validation (see ``Settings.keep``; the last
    ones where ``Task.select`` is never defined). Every rank calls this with its own context.

    Goes on from the last checkpoint, if there is one, with the same result as a run that was never cut off.
    """
    feed = task.feed(context)
    model = convert_batch_norm(task.model().to(context.device).train(), context)
    if not feed.steps:
        return model, Progress()
    optimizers = Optimizers(model, task.optimizers(model), settings.averaging)
    best: dict[str, Tensor] = {}
    progress = restore(checkpoints, model, optimizers, best)
    for tensor in weights(model, optimizers).values():
        context.broadcast(tensor)
    mixed = settings.mixed_precision and context.device.type == "cuda"

    with (
        determinism(settings.determinism),
        threads(1) if settings.one_thread else nullcontext(),
        Prefetch(feed.batches(progress.steps)) as batches,
    ):
        started, waited = time.perf_counter(), 0.0
        for step, batch in zip(_steps(progress, feed.steps, settings.patience), batches, strict=False):
            optimizers.zero_grad()
            torch.manual_seed(int(keyed_hash(settings.seed, step, context.rank)))
            with torch.autocast(context.device.type, torch.bfloat16, enabled=mixed):
                terms = task.losses(model, batch)
            loss = reduce_terms(context, terms, settings.divide_gradients)
            loss.part.backward()
            optimizers.reduce(context, loss.divisor, settings.clip_norm)
            optimizers.step(step, feed.steps)

            progress.steps += 1
            progress.seconds += time.perf_counter() - started
            progress.waited += batches.waited - waited
            ends = progress.steps == feed.steps
            if ends or progress.steps % max(1, feed.steps // CURVE_POINTS) == 0:
                point = {"step": progress.steps, "seconds": progress.seconds, **loss.values()}
                progress.curve.append(point)
            if ends or progress.steps % feed.validate_every == 0:
                with optimizers.averaged(progress.steps):
                    metrics = task.validate(model, context)
                    if _is_best(metrics, task.select, progress, settings) and settings.keep == "best":
                        best = {key: value.clone() for key, value in weights(model, optimizers).items()}
                if context.rank == 0:
                    _LOG.info("%s  %s", settings.name, _line(progress, feed.steps))
            if context.rank == 0 and progress.steps % settings.checkpoint_every == 0:
                save(checkpoints, model, optimizers, best, progress)
            started, waited = time.perf_counter(), batches.waited

        if not best:
            with optimizers.averaged(progress.steps):
                best = {key: value.clone() for key, value in weights(model, optimizers).items()}
        load(model, optimizers, best)
    return model, progress


@dataclass(frozen=True)
class Loss:
    """``part`` is this rank's part of the loss times ``divisor``: the parts of all ranks add up to it. ``total_K`` and
    ``weight_K`` are those of its ``terms`` over all ranks; the loss times the divisor is sum_k scale_k total_k."""

    part: Tensor
    divisor: Tensor | None
    terms: Mapping[str, Term]
    total_K: Tensor
    weight_K: Tensor
    scale_K: Tensor

    def values(self) -> dict[str, float]:
        """The loss over all ranks and each of its terms."""
        mean_K = self.total_K * torch.where(self.weight_K > 0, 1 / self.weight_K, 0.0)
        learnt = [index for index, term in enumerate(self.terms.values()) if term.coefficient]
        loss = (self.total_K * self.scale_K)[learnt].sum()
        loss = loss if self.divisor is None else loss / self.divisor
        return {**dict(zip(self.terms, mean_K.tolist(), strict=True)), "loss": float(loss)}


def reduce_terms(context: Context, terms: Mapping[str, Term], divide_gradients: bool = False) -> Loss:
    """The loss sum_k c_k (sum_i w_i l_i) / (sum_i w_i) of K terms, by one sum over ranks of 2 K numbers. A term without
    weight counts 0."""
    each = terms.values()
    sums = torch.stack(
        [term.total.detach().float() for term in each] + [term.weight.float() for term in each]
    )
    context.allreduce(sums)
    total_K, weight_K = sums.chunk(2)
    divisor = torch.where(weight_K[0] > 0, weight_K[0], 1.0) if divide_gradients else None
    inverse_K = torch.where(weight_K > 0, (1.0 if divisor is None else divisor) / weight_K, 0.0)
    scale_K = inverse_K * inverse_K.new_tensor([term.coefficient for term in each])
    parts = [
        term.total * scale for term, scale in zip(each, scale_K.unbind(), strict=True) if term.coefficient
    ]
    return Loss(torch.stack(parts).sum(), divisor, terms, total_K, weight_K, scale_K)


def _steps(progress: Progress, steps: int, patience: int | None) -> Iterator[int]:
    """Numbers of the steps that are left, until validations no longer get better."""
    while progress.steps < steps and not progress.stalled(patience):
        yield progress.steps


def _is_best(metrics: dict[str, float], select: str, progress: Progress, settings: Settings) -> bool:
    """Note a validation, and tell whether it is the one to keep: the last one as long as ``select`` was never
    defined."""
    progress.validations.append({"step": progress.steps, **metrics})
    names = select.split("+")
    score = None
    if all(name.lstrip("-") in metrics for name in names):
        score = sum(-metrics[n[1:]] if n.startswith("-") else metrics[n] for n in names)
    better = score > progress.best_score if score is not None else progress.best_score == float("-inf")
    if better or settings.keep == "last":
        progress.best = len(progress.validations) - 1
        progress.best_score = progress.best_score if score is None else score
        return True
    return False


def _line(progress: Progress, steps: int) -> str:
    last = progress.validations[-1]
    shown = "".join(f"  {key} {value:.4f}" for key, value in last.items() if key != "step")
    loss = f"  loss {progress.curve[-1]['loss']:.4f}" if progress.curve else ""
    waiting = f"{progress.seconds:.1f} s  waiting {100 * progress.wait_fraction:.1f} %"
    return f"step {progress.steps} of {steps}{loss}{shown}  {waiting}"
