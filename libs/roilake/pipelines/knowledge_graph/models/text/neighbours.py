"""The texts of an entity's neighbours in the graph of training.

Legend of shape suffixes: N entities, n of them, m distinct ones, K neighbours of each, E edges both ways, W width."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph, both_ways


class Neighbours(nn.Module):
    """around(e) = norm(mean over the first K neighbours (r, x) of e, by number, of w_r * text(x)), w = 1 at first.

    ``without`` names an entity for each e that is left out of its neighbours, whatever the relation: in training the
    answer that is sought, so that it cannot be read off.

    Shapes: text [n, W], w [2 R, W], around [n, W]."""

    def __init__(self, graph: KnowledgeGraph, most: int, width: int) -> None:
        super().__init__()
        self._entity_NK, self._relation_NK = neighbour_lists(graph, most)
        self.weight = nn.Embedding(2 * graph.relations, width)
        self.norm = nn.LayerNorm(width)
        nn.init.ones_(self.weight.weight)

    def forward(self, text: Callable[[Tensor], Tensor], entity_n: Tensor, without_n: Tensor | None) -> Tensor:
        self._to(entity_n.device)
        left_n = torch.full_like(entity_n, -1)
        if without_n is not None:
            # What is not there needs no leaving out: most queries of an entity have the same neighbours then
            is_n = (self._entity_NK[entity_n] == without_n[:, None]).any(dim=1)
            left_n = torch.where(is_n, without_n, left_n)
        distinct_m2, index_n = torch.stack([entity_n, left_n], dim=1).unique(dim=0, return_inverse=True)
        around_nW: Tensor = self.norm(self._mean(text, *distinct_m2.unbind(1)))[index_n]
        return around_nW

    def _mean(self, text: Callable[[Tensor], Tensor], entity_m: Tensor, left_m: Tensor) -> Tensor:
        near_mK, relation_mK = self._entity_NK[entity_m], self._relation_NK[entity_m]
        is_mK = (near_mK >= 0) & (near_mK != left_m[:, None])
        row_P, column_P = is_mK.nonzero().unbind(1)
        distinct, index_P = near_mK[row_P, column_P].unique(return_inverse=True)
        text_PW = self._texts(text, distinct)[index_P] * self.weight(relation_mK[row_P, column_P])
        total_mW = text_PW.new_zeros(len(entity_m), text_PW.shape[1]).index_add(0, row_P, text_PW)
        return total_mW / is_mK.sum(dim=1).clamp(min=1)[:, None]

    def _to(self, device: torch.device) -> None:
        """Move what is no part of the state, once."""
        if self._entity_NK.device != device:
            self._entity_NK, self._relation_NK = self._entity_NK.to(device), self._relation_NK.to(device)

    def _texts(self, text: Callable[[Tensor], Tensor], entity_n: Tensor) -> Tensor:
        return text(entity_n) if len(entity_n) else self.weight.weight[:0]


def neighbour_lists(graph: KnowledgeGraph, most: int) -> tuple[Tensor, Tensor]:
    """Of each entity the first ``most`` neighbours by number, and the relations to them: int64 [N, K]; -1 and 0 where
    there are fewer."""
    size = graph.entities
    edge_E3 = both_ways(graph.train_E3, graph.relations)
    head_E, relation_E, tail_E = edge_E3[(edge_E3[:, 0] * size + edge_E3[:, 2]).argsort(stable=True)].unbind(1)
    head_E = head_E.contiguous()
    first_E = torch.searchsorted(head_E, head_E)
    place_E = torch.arange(len(head_E)) - first_E
    is_E = place_E < most
    entity_NK = torch.full((size, most), -1, dtype=torch.int64)
    relation_NK = torch.zeros(size, most, dtype=torch.int64)
    entity_NK[head_E[is_E], place_E[is_E]] = tail_E[is_E]
    relation_NK[head_E[is_E], place_E[is_E]] = relation_E[is_E]
    return entity_NK, relation_NK
