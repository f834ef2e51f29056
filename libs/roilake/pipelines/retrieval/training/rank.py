"""What every rank of a launch does: open the pinned files, then train the models one after the other."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.config import GraphModelConfig, TrainingConfig
from roilake.pipelines.retrieval.models import TwinTower, build, is_matrix_kind
from roilake.pipelines.retrieval.training.artifacts import Artifacts, warm_start
from roilake.pipelines.retrieval.training.inputs import Inputs, TrainingData
from roilake.pipelines.retrieval.training.loop import Progress, Recipe, fit
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context


@dataclass(frozen=True)
class ModelTask:
    """One model to train: ``folder`` takes the result; ``parent`` is the folder of the model to start from."""

    name: str
    config: GraphModelConfig
    epochs: int
    folder: str
    checkpoints: str
    parent: str | None


@dataclass(frozen=True)
class Plan:
    """All that a launch trains. Plain data: it travels to the executors."""

    data: TrainingData
    training: TrainingConfig
    tasks: tuple[ModelTask, ...]
    key: str  # names the inputs; checkpoints of another key are not resumed

    def __call__(self, context: Context) -> dict[str, dict[str, Any]]:
        """Train on this rank; rank 0 writes. Returns the figures of each model."""
        inputs = Inputs(self.data, self.training, context)
        return {task.name: self._train(task, inputs) for task in self.tasks}

    def _train(self, task: ModelTask, inputs: Inputs) -> dict[str, Any]:
        """A model of the user-item matrix alone is fitted where it is asked, as of each window: nothing is learnt
        here, but it has its folder like the others."""
        model = None if is_matrix_kind(task.config.kind) else self._build(task, inputs)
        trainable = model is not None and model.trainable
        recipe = Recipe(
            name=task.name,
            loss=task.config.loss,
            epochs=task.epochs if trainable else 0,
            learning_rate=task.config.learning_rate or self.training.learning_rate,
            checkpoint_every=self.training.checkpoint_every,
            averaging=self.training.averaging,
        )
        checkpoints = Checkpoints(Path(task.checkpoints), f"{self.key} {task.name}")
        progress = fit(model, inputs, recipe, checkpoints) if model and trainable else Progress()
        figures = _figures(progress, inputs)
        if inputs.context.rank == 0:
            self._artifacts(task, model, inputs, progress, figures).write(Path(task.folder))
            checkpoints.clear()
        return figures

    def _build(self, task: ModelTask, inputs: Inputs) -> TwinTower:
        torch.manual_seed(self.data.seed)
        layouts = self.data.request_layout, self.data.item_layout
        model = build(task.config.kind, dict(task.config.options), inputs.schema, *layouts)
        if task.parent and model.trainable:
            try:
                warm_start(model, Path(task.parent))
            except ValueError as error:
                print(f"train_models  {task.name}  starts cold: {error}", file=sys.stderr, flush=True)
        return model

    def _artifacts(
        self,
        task: ModelTask,
        model: TwinTower | None,
        inputs: Inputs,
        progress: Progress,
        figures: dict[str, Any],
    ) -> Artifacts:
        windows = self.data.train or self.data.validation
        interest = interest_vectors(model, inputs, task.name) if windows and model else {}
        manifest = {
            "name": task.name,
            "model": task.config.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "epochs": task.epochs,
            "seed": self.data.seed,
            "schema": asdict(inputs.schema),
            "layouts": {"request": asdict(self.data.request_layout), "item": asdict(self.data.item_layout)},
            "train": [str(as_of) for as_of in self.data.train],
            "validation": [str(as_of) for as_of in self.data.validation],
            "parent": os.path.relpath(task.parent, task.folder) if task.parent else None,
            "metrics": figures["metrics"],
        }
        curve = {"steps": progress.curve, "epochs": progress.epochs, "best_epoch": progress.best_epoch}
        weights = model.state_dict() if model else {}
        return Artifacts(weights, manifest, curve, self.data.vocabulary, interest)


def interest_vectors(model: TwinTower, inputs: Inputs, name: str) -> dict[str, torch.Tensor]:
    """The trained model's vector of each node [N, D] by type as of the last train window (the first validation window
    where there is none); empty for a model that makes none. Raises ConfigError if D is not ``interest.dim``."""
    method: Any = getattr(model, "interest_vectors", None)
    if method is None:
        return {}
    as_of = max(inputs.data.train) if inputs.data.train else min(inputs.data.validation)
    with torch.no_grad():
        vectors = dict(method(inputs.store.features(as_of)))
    dims = {tensor.shape[1] for tensor in vectors.values()}
    if dims != {inputs.data.interest_dim}:
        raise ConfigError(
            f"models.{name}: gives interest vectors of {sorted(dims)} coordinates, but interest.dim is "
            f"{inputs.data.interest_dim}: make them equal, for the next night selects by them"
        )
    return vectors


def _figures(progress: Progress, inputs: Inputs) -> dict[str, Any]:
    rows = inputs.train.rows * (progress.steps / max(inputs.train.steps, 1))
    best = next((epoch for epoch in progress.epochs if epoch["epoch"] == progress.best_epoch), {})
    return {
        "metrics": {key: value for key, value in best.items() if key not in ("epoch", "step")},
        "best_epoch": progress.best_epoch,
        "steps": progress.steps,
        "seconds": round(progress.seconds, 3),
        "requests_per_second": round(rows / progress.seconds, 1) if progress.seconds else 0.0,
        "wait_fraction": round(progress.wait_fraction, 5),
    }
