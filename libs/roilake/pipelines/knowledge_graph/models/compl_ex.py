"""ComplEx (a baseline without texts)."""

from __future__ import annotations

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph
from roilake.pipelines.knowledge_graph.models.structural import DotModel, StructuralOptions


class Options(StructuralOptions):
    pass


class Model(DotModel):
    """s(h, r, t) = Re <h, r, conj(t)> over D / 2 complex coordinates, the real parts first

    Source: Trouillon et al., "Complex embeddings for simple link prediction" (2016, arXiv 1606.06357).

    Shapes: h, r, t [., D]."""

    def __init__(self, options: Options, graph: KnowledgeGraph) -> None:
        super().__init__(options, graph, options.width)

    def compose(self, head_QD: Tensor, relation_QD: Tensor) -> Tensor:
        (head, head_i), (relation, relation_i) = head_QD.chunk(2, dim=1), relation_QD.chunk(2, dim=1)
        return torch.cat([head * relation - head_i * relation_i, head * relation_i + head_i * relation], dim=1)
