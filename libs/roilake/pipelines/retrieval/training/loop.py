"""The training loop, the same on one rank and on many: read it top to bottom."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from roilake.feed.prefetch import Prefetch
from roilake.hashing import keyed_hash
from roilake.pipelines.retrieval.models import TwinTower
from roilake.pipelines.retrieval.training.inputs import Inputs, Step
from roilake.pipelines.retrieval.training.losses import focal_cross_entropy, sampled_softmax
from roilake.pipelines.retrieval.training.validation import HITS_AT, validate
from roilake.training.checkpoint import Checkpoints
from roilake.training.learner import Learner
from roilake.training.progress import Progress, load, restore, save, weights

CURVE_POINTS = 200


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    name: str
    loss: Literal["softmax", "focal"]
    epochs: int
    learning_rate: float
    checkpoint_every: int
    averaging: float = 0.0


def fit(model: TwinTower, inputs: Inputs, recipe: Recipe, checkpoints: Checkpoints) -> Progress:
    """Train ``model`` in place by Adam on the train windows and leave it with the weights of its best epoch, by the sum
    of validation AUC and HitRate@50 (the last epoch where there is nothing to validate on).

    Goes on from the last checkpoint, if there is one, with the same result as a run that was never cut off.
    """
    context, total = inputs.context, recipe.epochs * inputs.train.steps
    learner = Learner(model.to(context.device).train(), recipe.learning_rate, recipe.averaging)
    learner.broadcast(context)
    best: dict[str, Tensor] = {}
    progress = restore(checkpoints, model, learner, best)

    with Prefetch(inputs.steps(recipe.epochs, progress.steps)) as steps:
        started, waited = time.perf_counter(), 0.0
        for step in steps:
            learner.zero_grad()
            torch.manual_seed(int(keyed_hash(inputs.data.seed, step.epoch, step.number, context.rank)))
            loss_B = loss_of(model, step, recipe.loss)
            loss_sum = (loss_B * step.requests.weight_B).sum()
            loss_sum.backward()
            loss = learner.step(context, loss_sum, step.requests.weight_B.sum())

            progress.steps += 1
            progress.seconds += time.perf_counter() - started
            progress.waited += steps.waited - waited
            if progress.steps % max(1, total // CURVE_POINTS) == 0 or step.ends_epoch:
                point = {"step": progress.steps, "loss": loss, "seconds": progress.seconds}
                progress.curve.append(point)
            if step.ends_epoch:
                with learner.averaged():
                    end_epoch(model, learner, inputs, step.epoch, recipe.name, progress, best)
            if progress.steps % recipe.checkpoint_every == 0 and context.rank == 0:
                save(checkpoints, model, learner, best, progress)
            started, waited = time.perf_counter(), steps.waited

    load(model, learner, best)
    return progress


def loss_of(model: TwinTower, step: Step, loss: str) -> Tensor:
    """[B] loss of each request of a step."""
    requests_BD = model.embed_requests(step.requests, step.features)
    score_BI = requests_BD @ model.embed_items(step.items, step.features).T
    if loss == "focal":
        return focal_cross_entropy(score_BI, step.positive_BP, step.candidate_offset_I)
    return sampled_softmax(score_BI, step.positive_BP, step.candidate_offset_I)


def end_epoch(
    model: TwinTower,
    learner: Learner,
    inputs: Inputs,
    epoch: int,
    name: str,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    """Validate, and remember the weights if they are the best so far."""
    metrics = validate(model, inputs)
    progress.epochs.append({"epoch": epoch, "step": progress.steps, **metrics})
    score = metrics["auc"] + metrics[f"hit_rate@{HITS_AT}"] if metrics else progress.best_score
    if score > progress.best_score or not metrics:
        progress.best_epoch, progress.best_score = epoch, score
        best.clear()
        best.update({key: tensor.clone() for key, tensor in weights(model, learner).items()})
    if inputs.context.rank == 0:
        shown = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
        loss, seconds = progress.curve[-1]["loss"], progress.seconds
        waiting = f"waiting {100 * progress.wait_fraction:.1f} %"
        line = (
            f"epoch {epoch + 1}  step {progress.steps}  loss {loss:.4f}  {shown}  {seconds:.1f} s  {waiting}"
        )
        print(f"train_models  {name}  {line}", file=sys.stderr, flush=True)
