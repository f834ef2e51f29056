"""Conversion models as tasks of the trainer, and the folder of a trained one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from roilake.errors import ConfigError
from roilake.lake import DataFile
from roilake.metrics.classification import auc
from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig
from roilake.pipelines.conversion.feed.categories import CategoryIndex
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import (
    ConversionModel,
    ImpressionBatch,
    ImpressionSchema,
    build,
    needs_teacher,
)
from roilake.pipelines.conversion.training.inputs import ConversionInputs
from roilake.training import Artifacts, Context, Feed, OptimizerPlan, Schedule, Settings, Term
from roilake.training.artifacts import WEIGHTS, read_manifest

INDEX = "categories.safetensors"
PREDICTED_AT_ONCE = 1 << 16


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
        cls,
        inputs: ConversionInputs,
        name: str,
        config: ConversionModelConfig,
        pseudo: Sequence[DataFile] | None,
    ) -> ConversionTask:
        """``pseudo`` are the files of its teacher's pseudo-labels. Raises ConfigError where it needs and has none."""
        student = needs_teacher(config.kind, dict(config.options))
        if student and not pseudo:
            raise ConfigError(
                f"models.{name}: learns from pseudo-labels, but has no teacher's: name one of the night"
            )
        feed = inputs.feed(pseudo if student else None)
        return cls(config, inputs.training, inputs.data.seed, inputs.schema, feed, inputs.validation)

    def feed(self, context: Context) -> Feed[ImpressionBatch]:
        steps, rows = (
            self.config.steps or self.training.steps,
            self.training.clicks + self.training.impressions,
        )
        return Feed(partial(self._batches, context.device), steps, self.training.validate_every, rows)

    def _batches(self, device: torch.device, first: int) -> Iterator[ImpressionBatch]:
        return (to_device(batch, device) for batch in self.impressions.batches(first))

    def model(self) -> ConversionModel:
        torch.manual_seed(self.seed)
        return build(self.config.kind, dict(self.config.options), self.schema)

    def losses(self, model: Any, batch: ImpressionBatch) -> dict[str, Term]:
        terms: dict[str, Term] = model.terms(batch)
        return terms

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
        scores, labels, domains, clicks = (
            [torch.empty(0)],
            [torch.empty(0)],
            [torch.empty(0)],
            [torch.empty(0)],
        )
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


def settings_of(
    name: str, config: ConversionModelConfig, training: ConversionTrainingConfig, seed: int
) -> Settings:
    """How the trainer trains a conversion model."""
    return Settings(
        name=name,
        seed=seed,
        checkpoint_every=training.checkpoint_every,
        keep=config.keep or training.keep,
        clip_norm=training.clip_norm,
        determinism=training.determinism,
        one_thread=True,
    )


def artifacts(inputs: ConversionInputs, task: ConversionTask, model: nn.Module) -> Artifacts:
    """The manifest, and the index of categories."""
    manifest = {
        "model": task.config.model_dump(mode="json"),
        "training": task.training.model_dump(mode="json"),
        "seed": task.seed,
        "click_rate": task.schema.click_rate,
    }
    return Artifacts(manifest, {INDEX: inputs.index.save})


def load_model(folder: Path) -> tuple[ConversionModel, CategoryIndex]:
    """A model ready to predict, and what makes its rows of categories. Raises LakeError if the folder holds none."""
    manifest = read_manifest(folder)
    weights, index = load_file(folder / WEIGHTS), CategoryIndex.load(folder / INDEX)
    prefix = "embeddings.graph_"
    vectors = {
        name.removeprefix(prefix): tensor[:-1] for name, tensor in weights.items() if name.startswith(prefix)
    }
    schema = ImpressionSchema(index.fields, manifest["click_rate"], vectors)
    with torch.random.fork_rng(devices=[]):
        model = build(manifest["model"]["kind"], dict(manifest["model"]["options"]), schema)
    model.load_state_dict(weights)
    return model.eval(), index


def to_device(batch: ImpressionBatch, device: torch.device) -> ImpressionBatch:
    """The batch with all its tensors on ``device``."""
    if device.type == "cpu":
        return batch
    names = ImpressionBatch.__dataclass_fields__
    return replace(batch, **{name: getattr(batch, name).to(device) for name in names})
