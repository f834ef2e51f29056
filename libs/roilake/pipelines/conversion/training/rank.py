"""What every rank of a launch does: open the pinned impressions, then train the models one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from roilake.errors import ConfigError
from roilake.lake import DataFile
from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig
from roilake.pipelines.conversion.models import build, needs_teacher
from roilake.pipelines.conversion.training.artifacts import write_model
from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.loop import ConversionRecipe, fit_conversions
from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context
from roilake.training.progress import Progress


@dataclass(frozen=True)
class ConversionTask:
    """One model to train: ``folder`` takes the result; ``pseudo`` are the files of its teacher's pseudo-labels."""

    name: str
    config: ConversionModelConfig
    folder: str
    checkpoints: str
    pseudo: tuple[DataFile, ...] | None = None


@dataclass(frozen=True)
class ConversionPlan:
    """All that a launch trains. Plain data: it travels to the executors."""

    data: ConversionData
    training: ConversionTrainingConfig
    tasks: tuple[ConversionTask, ...]
    key: str  # names the inputs; checkpoints of another key are not resumed

    def __call__(self, context: Context) -> dict[str, dict[str, Any]]:
        """Train on this rank; rank 0 writes. Returns the figures of each model."""
        inputs = ConversionInputs(self.data, self.training, context)
        return {task.name: self._train(task, inputs, context) for task in self.tasks}

    def _train(self, task: ConversionTask, inputs: ConversionInputs, context: Context) -> dict[str, Any]:
        config, training = task.config, self.training
        taught = needs_teacher(config.kind, dict(config.options))
        if taught and not task.pseudo:
            raise ConfigError(
                f"models.{task.name}: learns from pseudo-labels, but has no teacher's: name one of the night"
            )
        torch.manual_seed(self.data.seed)
        model = build(config.kind, dict(config.options), inputs.schema)
        recipe = ConversionRecipe(
            name=task.name,
            steps=config.steps or training.steps,
            learning_rate=config.learning_rate or training.learning_rate,
            weight_decay=training.weight_decay,
            validate_every=training.validate_every,
            checkpoint_every=training.checkpoint_every,
            seed=self.data.seed,
            keep=config.keep or training.keep,
        )
        checkpoints = Checkpoints(Path(task.checkpoints), f"{self.key} {task.name}")
        feed = inputs.feed(task.pseudo if taught else None)
        progress = fit_conversions(model, feed, inputs.validation, recipe, context, checkpoints)
        found = figures(progress, training)
        if context.rank == 0:
            manifest = {
                "name": task.name,
                "model": config.model_dump(mode="json"),
                "training": training.model_dump(mode="json"),
                "seed": self.data.seed,
                "click_rate": inputs.schema.click_rate,
                **found,
            }
            curve = {"steps": progress.curve, "validations": progress.epochs, "best": progress.best_epoch}
            write_model(Path(task.folder), model, inputs.index, manifest, curve)
            checkpoints.clear()
        return found


def figures(progress: Progress, training: ConversionTrainingConfig) -> dict[str, Any]:
    """What a run can say of itself. ``metrics`` are those of the kept weights; ``terms`` the mean of each term of the
    loss (and of figures beside it, such as the share of clipped propensities) over the last tenth of the curve."""
    best = progress.epochs[progress.best_epoch] if progress.epochs else {}
    tail = progress.curve[-max(1, len(progress.curve) // 10) :]
    names = [name for name in (tail[0] if tail else {}) if name not in ("step", "seconds")]
    rows = progress.steps * (training.clicks + training.impressions)
    return {
        "metrics": {key: value for key, value in best.items() if key != "step"},
        "best_step": best.get("step"),
        "terms": {name: sum(point[name] for point in tail) / len(tail) for name in names},
        "steps": progress.steps,
        "seconds": round(progress.seconds, 3),
        "rows_per_second": round(rows / progress.seconds, 1) if progress.seconds else 0.0,
        "wait_fraction": round(progress.wait_fraction, 5),
    }
