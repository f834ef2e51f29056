"""How retrieval models are trained."""

from roilake.pipelines.retrieval.training.inputs import Inputs, TrainingData
from roilake.pipelines.retrieval.training.loop import Recipe, fit
from roilake.pipelines.retrieval.training.rank import ModelTask, Plan

__all__ = ["Inputs", "ModelTask", "Plan", "Recipe", "TrainingData", "fit"]
