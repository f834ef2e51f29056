"""Retrieval models as tasks of the trainer: rank a window's positives above the other items."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.config import RELEVANCE, GraphModelConfig
from roilake.pipelines.retrieval.models import build, is_matrix_kind, is_trainable
from roilake.pipelines.retrieval.training.inputs import Inputs, Step
from roilake.pipelines.retrieval.training.losses import focal_cross_entropy, sampled_softmax
from roilake.pipelines.retrieval.training.validation import validate
from roilake.training import Artifacts, Context, Feed, OptimizerPlan, Schedule, Term
from roilake.training.artifacts import warm_start, write_tensors

INTEREST, VOCABULARY = "interest.safetensors", "vocabulary.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrievalTask:
    """``epochs`` passes over the train windows; the kept one has the best sum of AUC and HitRate@50 on the validation
    windows. ``parent`` is the folder of the model to start from."""

    inputs: Inputs
    name: str
    config: GraphModelConfig
    epochs: int
    parent: str | None = None
    select = "auc+hit_rate@50"

    def feed(self, context: Context) -> Feed[Step]:
        """Models without parameters take no step: those of the user-item matrix alone are fitted where they are scored,
        as of each window."""
        train, epochs = self.inputs.train, self.epochs if is_trainable(self.config.kind) else 0
        steps = max(train.steps, 1)
        return Feed(partial(self.inputs.steps, epochs), epochs * train.steps, steps, train.rows / steps)

    def model(self) -> nn.Module:
        """From the weights of ``parent`` where they fit, else from initial ones; empty for a model of the user-item
        matrix alone."""
        kind, data = self.config.kind, self.inputs.data
        if is_matrix_kind(kind):
            return nn.Module()
        torch.manual_seed(data.seed)
        model = build(kind, dict(self.config.options), self.inputs.schema, *data.layouts)
        if self.parent and model.trainable:
            try:
                warm_start(model, Path(self.parent))
            except ValueError as error:
                _LOG.warning("%s starts from initial weights: %s", self.name, error)
        return model

    def losses(self, model: nn.Module, batch: Step) -> dict[str, Term]:
        loss_B, weight_B = loss_of(model, batch, self.config.loss), batch.requests.weight_B
        return {"loss": Term((loss_B * weight_B).sum(), weight_B.sum())}

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        training = self.inputs.training
        rate = self.config.learning_rate or training.learning_rate
        return [OptimizerPlan(list(model.parameters()), rate, Schedule(training.warmup_steps, training.decay))]

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        return validate(model, self.inputs)


def loss_of(model: Any, step: Step, loss: Literal["softmax", "focal"]) -> Tensor:
    """[B] loss of each request of a step, of a twin tower."""
    requests_BD, item_ID = model.embed(step.requests, step.items, step.features)
    score_BI = requests_BD @ item_ID.T
    if loss == "focal":
        return focal_cross_entropy(score_BI, step.positive_BP, step.candidate_offset_I)
    return sampled_softmax(score_BI, step.positive_BP, step.candidate_offset_I)


def artifacts(inputs: Inputs, task: RetrievalTask, model: Any, folder: str) -> Artifacts:
    """The manifest, the vocabulary, and what a model that makes some has for the next night to select by: interest
    vectors, and weights of relevance."""
    data = inputs.data
    manifest = {
        "training": inputs.training.model_dump(mode="json"),
        "epochs": task.epochs,
        "schema": asdict(inputs.schema),
        "layouts": {side: asdict(layout) for side, layout in data.layouts._asdict().items()},
        "train": [str(as_of) for as_of in data.train],
        "validation": [str(as_of) for as_of in data.validation],
        "parent": os.path.relpath(task.parent, folder) if task.parent else None,
    }
    files: dict[str, Callable[[Path], object]] = {VOCABULARY: lambda path: path.write_text(data.vocabulary.to_json())}
    if interest := interest_vectors(model, inputs, task.name):
        files[INTEREST] = partial(write_tensors, interest)
    if weights := model.relevance_weights() if hasattr(model, "relevance_weights") else None:
        files[RELEVANCE] = lambda path: path.write_text(json.dumps(weights))
    return manifest, files


def interest_vectors(model: Any, inputs: Inputs, name: str) -> dict[str, Tensor]:
    """The trained model's vector of each node [N, D] by type as of the last train window (the first validation window
    where there is none); empty for a model that makes none. Raises ConfigError if D is not ``interest.dim``."""
    train, validation = inputs.data.train, inputs.data.validation
    if not (train or validation) or not hasattr(model, "interest_vectors"):
        return {}
    with torch.no_grad():
        features = inputs.store.features(max(train) if train else min(validation))
        vectors: dict[str, Tensor] = dict(model.interest_vectors(features))
    dims = {tensor.shape[1] for tensor in vectors.values()}
    if dims != {inputs.data.interest_dim}:
        raise ConfigError(
            f"models.{name}: gives interest vectors of {sorted(dims)} coordinates, but interest.dim is "
            f"{inputs.data.interest_dim}: make them equal, for the next night selects by them"
        )
    return vectors
