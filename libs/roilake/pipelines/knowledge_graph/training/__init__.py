"""How models of knowledge graphs are trained."""

from roilake.pipelines.knowledge_graph.training.task import KgTask

__all__ = ["KgTask"]
