"""How all models of the conversion benchmark are trained: in memory, 256 clicks and 1,024 others a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.models import ConversionModel, ImpressionSchema
from roilake.pipelines.conversion.training import ConversionTask
from roilake.training import Checkpoints, LocalContext, Progress, Settings, train
from tests.benchmarks.cvr_data import Dataset


def trained(
    data: Dataset,
    kind: str,
    options: dict[str, Any],
    setting: tuple[float, float],
    *,
    steps: int,
    seed: int,
    validate_every: int = 25,
    keep: Literal["best", "last"] = "best",
) -> tuple[ConversionModel, Progress]:
    """A model of a kind; ``setting`` is its learning rate and weight decay."""
    config = ConversionModelConfig(kind=kind, options=options, keep=keep)
    training = ConversionTrainingConfig(
        steps=steps,
        learning_rate=setting[0],
        weight_decay=setting[1],
        validate_every=validate_every,
        checkpoint_every=steps + 1,
    )
    feed = ImpressionFeed.of_rows(data.train, clicks=training.clicks, impressions=training.impressions, seed=seed)
    schema = ImpressionSchema(data.fields, data.click_rate, {})
    task = ConversionTask(config, training, seed, schema, feed, data.validation)
    settings = Settings.of(kind, seed, training, keep=keep, one_thread=True)
    model, progress = train(task, LocalContext(), Checkpoints(Path("never"), ""), settings)
    assert isinstance(model, ConversionModel)
    return model, progress
