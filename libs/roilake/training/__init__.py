"""One trainer for any torch module on any feed: tasks, checkpoints, and launchers that run the same function here or
under Horovod on Spark."""

from roilake.training.context import Context, LocalContext
from roilake.training.launchers import TrainingError, launch
from roilake.training.night import Artifacts, Entry, Plan
from roilake.training.progress import Checkpoints, Progress
from roilake.training.task import Feed, OptimizerPlan, Schedule, Settings, Task, Term
from roilake.training.trainer import train

__all__ = [
    "Artifacts", "Checkpoints", "Context", "Entry", "Feed", "LocalContext", "OptimizerPlan", "Plan", "Progress",
    "Schedule", "Settings", "Task", "Term", "TrainingError", "launch", "train",
]  # fmt: skip
