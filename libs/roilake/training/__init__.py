"""One trainer for any torch module on any feed: checkpoints, and launchers that run the same function here or under
Horovod on Spark."""

from roilake.training.checkpoint import Checkpoints
from roilake.training.context import Context, LocalContext
from roilake.training.launchers import TrainingError, launch
from roilake.training.progress import Progress

__all__ = ["Checkpoints", "Context", "LocalContext", "Progress", "TrainingError", "launch"]
