"""How conversion models are trained."""

from roilake.pipelines.conversion.training.inputs import ConversionData, ConversionInputs
from roilake.pipelines.conversion.training.task import ConversionTask, artifacts, load_model, settings_of

__all__ = ["ConversionData", "ConversionInputs", "ConversionTask", "artifacts", "load_model", "settings_of"]
