"""ZOOMER's three levels of attention, each in the form of its public code without that code's defects.

Legend: B rows, P positions, K fields, k neighbours, R relations, D = ``dim``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.tree import Children
from roilake.pipelines.retrieval.roi.layout import Slot

NEVER = -1e9
SIGNAL_SCALE = 10.0
"""Signals are at most 1 and differ by less, so a softmax over them chooses only with weights of about 10. Adam moves a
parameter by its rate a step: in this unit it gets there (NDCG@20 on Foursquare .755 against .750 at 420 steps, .743
against .714 at 105)."""


@dataclass(frozen=True)
class Attention:
    """What one combination of a parent with its children weighed, at each position of the parent.

    ``edge[i]`` [B, P, k] are the weights of the children in ``slots[i]``: they sum to 1, or are all 0 where there are
    none. ``semantic_BPR`` are those of the parent's own vector (first) and of each slot's aggregate: they sum to 1."""

    slots: tuple[Slot, ...]
    edge: tuple[Tensor, ...]
    semantic_BPR: Tensor


class FeatureAttention(nn.Module):
    """Reweighs the fields of a node in the light of whom the ROI belongs to.

    l_k = <w + u * c, e_k>,  a = softmax_k(LeakyReLU(ELU(l))),  h = sum_k K a_k e_k

    The weights average to 1. The context c is the *own* fields of the root user (request side) or of the root item
    (item side); the public code gives the user's to the item too, so that its item vectors depend on who asks.
    There c and a bias are *added* to the logits, which moves those of all fields alike and so decides nothing; here c
    scales what is asked of a field. w and u start at 0: all fields weigh the same.

    Shapes: fields [*, K, D], context [*, D] (the summed fields) -> [*, D].
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.field, self.context = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, fields_XKD: Tensor, context_XD: Tensor) -> Tensor:
        return _reweighed(self.field, self.context, fields_XKD, context_XD)[0]


class EdgeAttention(nn.Module):
    """Reweighs the neighbours of one edge type by their likeness to the context and by what they were selected by.

    l_j = t <g, N_j> + 10 sum_s c_s x_sj,  a = softmax_j(l),  agg = sum_j a_j N_j

    g is the focal (sum of the roots) plus, below hop 1, the parent; x are the neighbour's relevance and, of one from
    the history, whether the query is linked to it and how recent it is. t and c are learned and start at 0: the
    untrained aggregate is the mean, and attention leaves it only as far as that pays. The public code has the product
    alone, with t = 1, keeps the 5 largest of its 5 neighbours and takes the softmax twice; the first does nothing and
    the second only flattens, so both are left out, and so is its LeakyReLU, which flattens all below the average.

    Shapes: context [B, P, D], neighbours [B, P, k, D], signals S x [B, P, k] -> a [B, P, k].
    """

    def __init__(self, signals: int) -> None:
        super().__init__()
        self.temperature, self.signal = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(signals))

    def forward(self, context_BPD: Tensor, children: Children, vectors_BPkD: Tensor) -> Tensor:
        # Products of this shape as many small matrix products (einsum) take four times as long on a CPU.
        logit_BPk = (context_BPD.unsqueeze(2) * vectors_BPkD).sum(dim=3) * self.temperature
        logit_BPk = logit_BPk + torch.stack(children.signals, dim=3) @ (SIGNAL_SCALE * self.signal)
        masked_BPk = logit_BPk.masked_fill(~children.mask_BPk, NEVER)
        return torch.softmax(masked_BPk, dim=2) * children.mask_BPk


class SemanticAttention(nn.Module):
    """Reweighs a node's own vector and the aggregates of its edge types.

    l_r = <w + u * g, z_r>,  b = softmax_r(LeakyReLU(ELU(l))),  z = sum_r R b_r z_r

    The public code follows with a matrix on the concatenation; here each relation has its own matrix already
    (``GraphTower`` maps), and the sum keeps the residual path. The context g scales, see ``FeatureAttention``; w and u
    start at 0.

    Shapes: context [B, P, D], relations R x [B, P, D] -> z [B, P, D], b [B, P, R].
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.relation, self.context = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, context_BPD: Tensor, relations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return _reweighed(self.relation, self.context, torch.stack(list(relations), dim=2), context_BPD)


def _reweighed(own_D: Tensor, scaled_D: Tensor, parts_XKD: Tensor, context_XD: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k K a_k part_k [*, D] and a [*, K], with a = softmax_k(LeakyReLU(ELU(<own + scaled * c, part_k>)))."""
    logit_XK = ((own_D + scaled_D * context_XD).unsqueeze(-2) * parts_XKD).sum(dim=-1)
    weight_XK = torch.softmax(F.leaky_relu(F.elu(logit_XK)), dim=-1)
    return ((weight_XK * parts_XKD.shape[-2]).unsqueeze(-1) * parts_XKD).sum(dim=-2), weight_XK
