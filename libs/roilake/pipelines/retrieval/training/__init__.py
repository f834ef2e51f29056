"""How retrieval models are trained."""

from roilake.pipelines.retrieval.training.inputs import Inputs, TrainingData
from roilake.pipelines.retrieval.training.task import RetrievalTask, artifacts

__all__ = ["Inputs", "RetrievalTask", "TrainingData", "artifacts"]
