"""The training loop of conversion models, the same on one rank and on many: read it top to bottom."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from roilake.feed.prefetch import Prefetch
from roilake.hashing import keyed_hash
from roilake.metrics.classification import auc
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import ConversionModel, ImpressionBatch, Term
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context, one_thread
from roilake.training.learner import Learner
from roilake.training.progress import Progress, load, restore, save, weights

CURVE_POINTS = 200
PREDICTED_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class ConversionRecipe:
    """How one conversion model is trained. ``keep: best`` keeps the step of the best AUC on validation clicks."""

    name: str
    steps: int
    learning_rate: float
    weight_decay: float
    validate_every: int
    checkpoint_every: int
    seed: int
    keep: Literal["best", "last"] = "best"


def fit_conversions(
    model: ConversionModel,
    feed: ImpressionFeed,
    validation: ImpressionRows,
    recipe: ConversionRecipe,
    context: Context,
    checkpoints: Checkpoints | None = None,
) -> Progress:
    """Train ``model`` in place by Adam and leave it with the weights of its best validation (the last ones where the
    AUC is never defined). ``validation`` are this rank's rows. A validation counts as an epoch of ``Progress``.

    Goes on from the last checkpoint, if there is one, with the same result as a run that was never cut off.
    """
    learner = Learner(model.to(context.device).train(), recipe.learning_rate, 0.0, recipe.weight_decay)
    learner.broadcast(context)
    best: dict[str, Tensor] = {}
    progress = restore(checkpoints, model, learner, best) if checkpoints else Progress()

    with one_thread(), Prefetch(feed.batches(progress.steps)) as batches:
        started, waited = time.perf_counter(), 0.0
        for step, batch in zip(range(progress.steps, recipe.steps), batches, strict=False):
            learner.zero_grad()
            torch.manual_seed(int(keyed_hash(recipe.seed, step, context.rank)))
            total, values = reduce_terms(context, model.terms(to_device(batch, context.device)))
            total.backward()
            loss = learner.step(context, total, total.new_tensor(1.0 / context.workers))

            progress.steps += 1
            progress.seconds += time.perf_counter() - started
            progress.waited += batches.waited - waited
            ends = progress.steps == recipe.steps
            if ends or progress.steps % max(1, recipe.steps // CURVE_POINTS) == 0:
                point = {"step": progress.steps, "loss": loss, "seconds": progress.seconds}
                progress.curve.append(point | values)
            if ends or progress.steps % recipe.validate_every == 0:
                validate(model, learner, validation, context, recipe, progress, best)
            if checkpoints and context.rank == 0 and progress.steps % recipe.checkpoint_every == 0:
                save(checkpoints, model, learner, best, progress)
            started, waited = time.perf_counter(), batches.waited

    load(model, learner, best)
    if context.rank == 0:
        tell(recipe, progress)
    return progress


def tell(recipe: ConversionRecipe, progress: Progress) -> None:
    """A line on what came of it."""
    best = progress.epochs[progress.best_epoch] if progress.epochs else {}
    shown = "  ".join(f"{key} {value:.4f}" for key, value in best.items() if key != "step")
    kept = f"kept step {best.get('step', progress.steps)} of {progress.steps}"
    timing = f"{progress.seconds:.1f} s  waiting {100 * progress.wait_fraction:.1f} %"
    print(f"training  {recipe.name}  {kept}  {shown}  {timing}", file=sys.stderr, flush=True)


def reduce_terms(context: Context, terms: Mapping[str, Term]) -> tuple[Tensor, dict[str, float]]:
    """This rank's part of the loss sum_k c_k (sum_i w_i l_i) / (sum_i w_i), sums over all ranks below the line: the
    parts of all ranks add up to the loss. And the value of each term over all ranks. A term without weight counts 0.
    """
    sums_2K = torch.stack([t.total.detach() for t in terms.values()] + [t.weight for t in terms.values()])
    context.allreduce(sums_2K)
    total_K, weight_K = sums_2K.chunk(2)
    inverse_K = torch.where(weight_K > 0, 1 / weight_K, 0.0)
    scale_K = (inverse_K * inverse_K.new_tensor([t.coefficient for t in terms.values()])).unbind()
    parts = [t.total * scale for t, scale in zip(terms.values(), scale_K, strict=True) if t.coefficient]
    values = dict(zip(terms, (total_K * inverse_K).tolist(), strict=True))
    return torch.stack(parts).sum(), values


def validate(
    model: ConversionModel,
    learner: Learner,
    rows: ImpressionRows,
    context: Context,
    recipe: ConversionRecipe,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    """Measure, and remember the weights if they are the best so far (of clicks that all converted, or none, nothing
    can be said: then the last ones)."""
    metrics = measure(model, rows, context)
    progress.epochs.append({"step": progress.steps, **metrics})
    score = metrics.get("auc")
    better = score is not None and score > progress.best_score
    if recipe.keep == "last" or better or (score is None and progress.best_score == float("-inf")):
        progress.best_epoch = len(progress.epochs) - 1
        progress.best_score = progress.best_score if score is None else score
        best.clear()
        if recipe.keep == "best" and progress.steps < recipe.steps:
            best.update({key: tensor.clone() for key, tensor in weights(model, learner).items()})


@torch.no_grad()
def measure(model: ConversionModel, rows: ImpressionRows, context: Context) -> dict[str, float]:
    """AUC of pCVR on clicks of all ranks, and of the domain discriminator on all rows, where there is one. What is not
    defined is left out."""
    model.eval()
    rows = rows if model.discriminates else rows.at(rows.click_R > 0)
    scores, labels, domains, clicks = [torch.empty(0)], [torch.empty(0)], [torch.empty(0)], [torch.empty(0)]
    for start in range(0, len(rows), PREDICTED_AT_ONCE):
        batch = to_device(rows.at(slice(start, start + PREDICTED_AT_ONCE)).batch(), context.device)
        clicked = batch.click_B > 0
        scores.append(model.predict(batch).cvr_B[clicked].cpu())
        labels.append(batch.conversion_B[clicked].cpu())
        if model.discriminates:
            domains.append(model.domain_logit(batch).cpu())
            clicks.append(batch.click_B.cpu())
    model.train()
    pairs = {"auc": (scores, labels)} | ({"domain_auc": (domains, clicks)} if model.discriminates else {})
    metrics = {}
    for name, (score, label) in pairs.items():
        gathered = context.allgather(torch.stack([torch.cat(score), torch.cat(label)], dim=1)).numpy()
        if 0 < gathered[:, 1].sum() < len(gathered):
            metrics[name] = auc(gathered[:, 1], gathered[:, 0])
    return metrics


def to_device(batch: ImpressionBatch, device: torch.device) -> ImpressionBatch:
    """The batch with all its tensors on ``device``."""
    if device.type == "cpu":
        return batch
    names = ImpressionBatch.__dataclass_fields__
    return replace(batch, **{name: getattr(batch, name).to(device) for name in names})
