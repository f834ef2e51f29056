"""TransE (a baseline without texts)."""

from __future__ import annotations

from torch import Tensor

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph
from roilake.pipelines.knowledge_graph.models.structural import DistanceModel, StructuralOptions


class Options(StructuralOptions):
    pass


class Model(DistanceModel):
    """s(h, r, t) = -a |h + r - t|

    Source: Bordes et al., "Translating embeddings for modeling multi-relational data" (2013), with cross-entropy in
    place of margins.

    Shapes: h, r, t [., D]."""

    def __init__(self, options: Options, graph: KnowledgeGraph) -> None:
        super().__init__(options, graph, options.width)

    def compose(self, head_QD: Tensor, relation_QD: Tensor) -> Tensor:
        return head_QD + relation_QD
