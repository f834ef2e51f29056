"""How conversion models are trained."""

from roilake.pipelines.conversion.training.artifacts import load_model
from roilake.pipelines.conversion.training.inputs import ConversionData
from roilake.pipelines.conversion.training.loop import ConversionRecipe, fit_conversions
from roilake.pipelines.conversion.training.rank import ConversionPlan, ConversionTask

__all__ = [
    "ConversionData",
    "ConversionPlan",
    "ConversionRecipe",
    "ConversionTask",
    "fit_conversions",
    "load_model",
]
