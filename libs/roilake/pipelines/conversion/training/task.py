"""Conversion models as tasks of the trainer, and the folder of a trained one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from roilake.errors import ConfigError
from roilake.lake import DataFile
from roilake.metrics.classification import auc
from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig
from roilake.pipelines.conversion.feed.categories import CategoryIndex
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import ConversionModel, build, needs_teacher
from roilake.pipelines.conversion.models.batch import ImpressionBatch, ImpressionSchema
from roilake.pipelines.conversion.training.inputs import ConversionInputs
from roilake.training import Artifacts, Context, Feed, OptimizerPlan, Schedule, Term
from roilake.training.artifacts import WEIGHTS, read_manifest
from roilake.training.context import to_device

INDEX = "categories.safetensors"
PREDICTED_AT_ONCE = 1 << 16
Files = tuple[DataFile, ...]


@dataclass(frozen=True)
class ConversionTask:
    """The kept step is that of the best AUC on validation clicks. ``validation`` are this rank's rows."""

    config: ConversionModelConfig
    training: ConversionTrainingConfig
    seed: int
    schema: ImpressionSchema
    impressions: ImpressionFeed
    validation: ImpressionRows
    select = "auc"

    @classmethod
    def of(
        cls, inputs: ConversionInputs, name: str, config: ConversionModelConfig, pseudo: Files | None
    ) -> ConversionTask:
        """``pseudo`` are the files of its teacher's pseudo-labels. Raises ConfigError where it needs and has none."""
        student = needs_teacher(config.kind, dict(config.options))
        if student and not pseudo:
            raise ConfigError(f"models.{name}: learns from pseudo-labels, but has no teacher's: name one of the night")
        feed = inputs.feed(pseudo if student else None)
        return cls(config, inputs.training, inputs.data.seed, inputs.schema, feed, inputs.validation)

    def feed(self, context: Context) -> Feed[ImpressionBatch]:
        training, device = self.training, context.device
        rows, steps = training.clicks + training.impressions, self.config.steps or training.steps

        def batches(first: int) -> Iterator[ImpressionBatch]:
            return (to_device(batch, device) for batch in self.impressions.batches(first))

        return Feed(batches, steps, training.validate_every, rows)

    def model(self) -> ConversionModel:
        torch.manual_seed(self.seed)
        return build(self.config.kind, dict(self.config.options), self.schema)

    def losses(self, model: Any, batch: ImpressionBatch) -> dict[str, Term]:
        return model.terms(batch)

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        training = self.training
        rate = self.config.learning_rate or training.learning_rate
        schedule = Schedule(training.warmup_steps, training.decay)
        return [OptimizerPlan(list(model.parameters()), rate, schedule, training.weight_decay)]

    @torch.no_grad()
    def validate(self, model: Any, context: Context) -> dict[str, float]:
        """AUC of pCVR on clicks of all ranks, and of the domain discriminator on all rows, where there is one. What is
        not defined is left out."""
        model.eval()
        rows = self.validation if model.discriminates else self.validation.at(self.validation.click_R > 0)
        names = ("auc", "domain_auc") if model.discriminates else ("auc",)
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for start in range(0, len(rows), PREDICTED_AT_ONCE):
            batch = to_device(rows.at(slice(start, start + PREDICTED_AT_ONCE)).batch(), context.device)
            clicked = batch.click_B > 0
            scores_C, labels_C = model.predict(batch).cvr_B[clicked], batch.conversion_B[clicked]
            found["auc"].append(torch.stack([scores_C, labels_C], dim=1).cpu())
            if model.discriminates:
                found["domain_auc"].append(torch.stack([model.domain_logit(batch), batch.click_B], dim=1).cpu())
        model.train()
        metrics = {}
        for name, parts in found.items():
            gathered = context.allgather(torch.cat([torch.empty(0, 2), *parts]))[0].numpy()
            if 0 < gathered[:, 1].sum() < len(gathered):
                metrics[name] = auc(gathered[:, 1], gathered[:, 0])
        return metrics


def artifacts(inputs: ConversionInputs, task: ConversionTask, model: nn.Module, folder: str) -> Artifacts:
    """The manifest, and the index of categories."""
    manifest = {"training": task.training.model_dump(mode="json"), "click_rate": task.schema.click_rate}
    return manifest, {INDEX: inputs.index.save}


def load_model(folder: Path) -> tuple[ConversionModel, CategoryIndex]:
    """A model ready to predict, and what makes its rows of categories. Raises LakeError if the folder holds none."""
    manifest = read_manifest(folder)
    weights, index = load_file(folder / WEIGHTS), CategoryIndex.load(folder / INDEX)
    prefix = "embeddings.graph_"
    vectors = {name.removeprefix(prefix): tensor[:-1] for name, tensor in weights.items() if name.startswith(prefix)}
    schema = ImpressionSchema(index.fields, manifest["click_rate"], vectors)
    with torch.random.fork_rng(devices=[]):
        model = build(manifest["model"]["kind"], dict(manifest["model"]["options"]), schema)
    model.load_state_dict(weights)
    return model.eval(), index
