"""How models of node labels are trained."""

from roilake.pipelines.node_labels.training.task import NodeTask, predict

__all__ = ["NodeTask", "predict"]
