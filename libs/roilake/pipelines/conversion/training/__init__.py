"""How conversion models are trained."""

from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.task import ConversionTask, artifacts, load_model

__all__ = ["ConversionData", "ConversionInputs", "ConversionTask", "artifacts", "load_model"]
