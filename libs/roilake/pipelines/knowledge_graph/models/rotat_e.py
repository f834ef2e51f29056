"""RotatE (a baseline without texts)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph
from roilake.pipelines.knowledge_graph.models.structural import DistanceModel, StructuralOptions


class Options(StructuralOptions):
    pass


class Model(DistanceModel):
    """s(h, r, t) = -a |h e^(i phase_r) - t| over D / 2 complex coordinates, the real parts first

    Source: Sun et al., "RotatE" (2019, arXiv 1902.10197), with the Euclidean distance in place of the sum of moduli and
    cross-entropy in place of margins.

    Shapes: h, t [., D], phase [2 R, D / 2]."""

    def __init__(self, options: Options, graph: KnowledgeGraph) -> None:
        super().__init__(options, graph, options.width // 2)
        nn.init.uniform_(self.relation.weight, -math.pi, math.pi)

    def compose(self, head_QD: Tensor, relation_QD: Tensor) -> Tensor:
        (head, head_i), turn, turn_i = head_QD.chunk(2, dim=1), relation_QD.cos(), relation_QD.sin()
        return torch.cat([head * turn - head_i * turn_i, head * turn_i + head_i * turn], dim=1)
