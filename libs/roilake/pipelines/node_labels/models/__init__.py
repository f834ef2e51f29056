"""Models of node labels: no Spark and no I/O. One file per model, named as a config's ``kind``, holds ``Options``
(validated) and ``Model(options, shape)``, whose ``forward(graph: NodeGraph)`` gives logits [N, C]; see ``batch``. A new
model costs one file."""

from __future__ import annotations

from typing import Any

from torch import nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.training.models import ModelFiles

__all__ = ["GraphShape", "NodeGraph", "build", "check", "kinds"]

_FILES = ModelFiles(__name__, __path__, {"batch", "layers", "meta_weights", "sparse"})
kinds, check = _FILES.kinds, _FILES.check


def build(kind: str, options: dict[str, Any], shape: GraphShape) -> nn.Module:
    """An untrained model of this kind. Raises ConfigError for an unknown kind or option."""
    return _FILES.build(kind, options, shape)
