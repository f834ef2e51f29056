"""Losses, loop, checkpoints, and launchers that run the same function in this process or under Horovod on Spark."""

from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context, LocalContext
from roilake.training.conversion_artifacts import load_model
from roilake.training.conversion_inputs import ConversionData
from roilake.training.conversion_rank import ConversionPlan, ConversionTask
from roilake.training.conversions import ConversionRecipe, fit_conversions
from roilake.training.inputs import Inputs, TrainingData
from roilake.training.launchers import TrainingError, launch
from roilake.training.loop import Recipe, fit
from roilake.training.progress import Progress
from roilake.training.rank import ModelTask, Plan

__all__ = [
    "Checkpoints",
    "Context",
    "ConversionData",
    "ConversionPlan",
    "ConversionRecipe",
    "ConversionTask",
    "Inputs",
    "LocalContext",
    "ModelTask",
    "Plan",
    "Progress",
    "Recipe",
    "TrainingData",
    "TrainingError",
    "fit",
    "fit_conversions",
    "launch",
    "load_model",
]
