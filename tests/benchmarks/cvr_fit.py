"""How all models of the conversion benchmark are trained: in memory, 256 clicks and 1,024 others a step."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch

from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.models import ConversionModel, ImpressionSchema, build
from roilake.pipelines.conversion.training.loop import ConversionRecipe, fit_conversions
from roilake.training.context import LocalContext
from roilake.training.progress import Progress
from tests.benchmarks.cvr_data import Dataset


def trained(
    data: Dataset, options: dict[str, Any], recipe: ConversionRecipe
) -> tuple[ConversionModel, Progress]:
    """A model of the kind that the recipe names."""
    torch.manual_seed(recipe.seed)
    model = build(recipe.name, options, ImpressionSchema(data.fields, data.click_rate, {}))
    feed = ImpressionFeed.of_rows(data.train, clicks=256, impressions=1024, seed=recipe.seed)
    with redirect_stderr(StringIO()):
        return model, fit_conversions(model, feed, data.validation, recipe, LocalContext())
