"""ComplEx (a baseline without texts)."""

from __future__ import annotations

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph, TripleBatch
from roilake.pipelines.knowledge_graph.models.structural import DotModel, StructuralOptions, Weight
from roilake.training import Term


class Options(StructuralOptions):
    """``regularization``: weight of N3, the sum of |x|^3 over the coordinates of head, relation and tail, as a mean
    over queries (Lacroix et al. 2018, arXiv 1806.07297)."""

    regularization: Weight = 0.0


class Model(DotModel):
    """s(h, r, t) = Re <h, r, conj(t)> over D / 2 complex coordinates, the real parts first

    Source: Trouillon et al., "Complex embeddings for simple link prediction" (2016, arXiv 1606.06357).

    Shapes: h, r, t [., D]."""

    def __init__(self, options: Options, graph: KnowledgeGraph) -> None:
        super().__init__(options, graph, options.width)
        self.regularization = options.regularization

    def compose(self, head_QD: Tensor, relation_QD: Tensor) -> Tensor:
        (head, head_i), (relation, relation_i) = head_QD.chunk(2, dim=1), relation_QD.chunk(2, dim=1)
        return torch.cat([head * relation - head_i * relation_i, head * relation_i + head_i * relation], dim=1)

    def losses(self, batch: TripleBatch) -> dict[str, Term]:
        """``cross_entropy``, and ``n3`` where it has a weight."""
        terms = super().losses(batch)
        if self.regularization:
            cubes = [cubed(each) for each in self.vectors(batch)]
            terms["n3"] = Term(torch.stack(cubes).sum(), terms["cross_entropy"].weight, self.regularization)
        return terms


def cubed(vector_QD: Tensor) -> Tensor:
    """The sum of |x|^3. ``norm`` over two numbers takes many times as long."""
    real, imaginary = vector_QD.chunk(2, dim=1)
    return (real.square() + imaginary.square()).pow(1.5).sum()
