"""InfoNCE over the answers of all ranks, of earlier steps, and the head itself.

Legend of shape suffixes: Q queries of a step over all ranks, q of this rank, C candidates, K tails of the ring, P
pairs, D width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.batch import TripleBatch
from roilake.training import Term
from roilake.training.gathering import all_gather

_NEVER = -1e4


class Ring(nn.Module):
    """The tails of the last steps, the oldest given up first. Part of a checkpoint, not of a trained model."""

    tail_K: Tensor
    vector_KD: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("tail_K", torch.full((size,), -1, dtype=torch.int64), persistent=False)
        self.register_buffer("vector_KD", torch.zeros(size, width), persistent=False)

    @torch.no_grad()
    def push(self, tail_Q: Tensor, vector_QD: Tensor) -> None:
        """In front of what is there."""
        size = len(self.tail_K)
        self.tail_K.copy_(torch.cat([tail_Q, self.tail_K])[:size])
        self.vector_KD.copy_(torch.cat([vector_QD.float(), self.vector_KD])[:size])


class InfoNCE(nn.Module):
    """l_i = -log softmax_j((q_i . t_j - m [i = j]) / T)_i over the tails t_j of the step on all ranks, and the same
    with q and t exchanged. The tails of earlier steps join the first softmax with half their logits, never the second.

    Left out are tails that training knows as answers of the query (``false_negative_mask``), and without
    ``self_negatives`` the query's own head: as every triple is in a step both ways, it is among the tails.
    T is learned from ``temperature`` on unless ``fixed_temperature``; the margin m is for training alone.

    Source: Wang et al. 2022 (SimKGC, arXiv 2203.02167), section 3.3 and its code.

    Shapes: q, t [Q, D], unit rows; logits [q, Q + K]."""

    def __init__(
        self,
        width: int,
        *,
        temperature: float,
        fixed_temperature: bool,
        margin: float,
        ring: int,
        self_negatives: bool,
        false_negative_mask: bool,
    ) -> None:
        super().__init__()
        self.log_inverse = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=not fixed_temperature)
        self.margin, self.self_negatives, self.false_negative_mask = margin, self_negatives, false_negative_mask
        self.ring = Ring(ring, width)

    def forward(self, query_qD: Tensor, tail_qD: Tensor, batch: TripleBatch) -> dict[str, Term]:
        """Of this rank's queries and their tails; in float32 under mixed precision too."""
        with torch.autocast(query_qD.device.type, enabled=False):
            return self._terms(query_qD, tail_qD, batch)

    def _terms(self, query_qD: Tensor, tail_qD: Tensor, batch: TripleBatch) -> dict[str, Term]:
        all_QD, tail_QD = (all_gather(each, batch.context).float() for each in (query_qD, tail_qD))
        own, scale = batch.own, self.log_inverse.exp()
        gold_q = torch.arange(batch.first, batch.last, device=query_qD.device)
        left_QQ = self._left_out(batch, batch.tail_Q)
        added_QQ = torch.where(left_QQ, _NEVER, 0.0).fill_diagonal_(-self.margin)
        forward_qQ = torch.addmm(added_QQ[own], all_QD[own], tail_QD.t()) * scale
        back_qQ = torch.addmm(added_QQ.t()[own], tail_QD[own], all_QD.t()) * scale
        logit_qC = torch.cat([forward_qQ, self._earlier(all_QD[own], batch, scale)], dim=1)
        self.ring.push(batch.tail_Q, tail_QD)
        weight = scale.detach().new_tensor(float(len(gold_q)))
        return {
            "tails": Term(F.cross_entropy(logit_qC, gold_q, reduction="sum"), weight),
            "queries": Term(F.cross_entropy(back_qQ, gold_q, reduction="sum"), weight),
        }

    def _earlier(self, query_qD: Tensor, batch: TripleBatch, scale: Tensor) -> Tensor:
        """Logits of the ring [q, K]."""
        left_qK = self._left_out(batch, self.ring.tail_K)[batch.own] | (self.ring.tail_K < 0)
        earlier_KD = self.ring.vector_KD.clone()  # the step's tails are pushed before the gradients
        return (query_qD @ earlier_KD.t() * scale / 2).masked_fill(left_qK, _NEVER)

    def _left_out(self, batch: TripleBatch, candidate_C: Tensor) -> Tensor:
        """Which candidates are no negatives of a query [Q, C]."""
        shape = len(batch.head_Q), len(candidate_C)
        left_QC = torch.zeros(shape, dtype=torch.bool, device=candidate_C.device)
        if self.false_negative_mask:
            left_QC |= known_among(batch.known_2P, candidate_C, len(batch.head_Q))
        if not self.self_negatives:
            left_QC |= batch.head_Q[:, None] == candidate_C
        return left_QC


def known_among(known_2P: Tensor, candidate_C: Tensor, queries: int) -> Tensor:
    """Which candidates are known tails of a query: bool [Q, C]."""
    row_P, tail_P = known_2P
    different_U, index_C = candidate_C.unique(return_inverse=True)
    known_QU = torch.zeros(queries, len(different_U) + 1, dtype=torch.bool, device=candidate_C.device)
    place_P = torch.searchsorted(different_U, tail_P)
    is_P = torch.cat([different_U, different_U.new_tensor([-1])])[place_P] == tail_P
    known_QU[row_P, torch.where(is_P, place_P, len(different_U))] = True
    return known_QU[:, index_C]
