"""ZOOMER's three levels of attention, each in the form of its public code without that code's defects.

Legend: B rows, P positions, K fields, k neighbours, R relations, D = ``dim``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.tower import zeroed
from roilake.pipelines.retrieval.models.tree import Children
from roilake.pipelines.retrieval.roi.layout import Slot

NEVER = -1e9


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

    l_k = ELU(<w, e_k> + <w_c, c> + b),  a = softmax_k(LeakyReLU(l)),  h = sum_k K a_k e_k

    The weights average to 1. The context c is the *own* fields of the root user (request side) or of the root item
    (item side); the public code gives the user's to the item too, so that its item vectors depend on who asks.
    w and w_c start at 0: all fields weigh the same.

    Shapes: fields [*, K, D], context [*, D] (the summed fields) -> [*, D].
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.field, self.context = zeroed(nn.Linear(dim, 1)), zeroed(nn.Linear(dim, 1, bias=False))

    def forward(self, fields_XKD: Tensor, context_XD: Tensor) -> Tensor:
        return _reweighed(self.field, self.context, fields_XKD, context_XD)[0]


class EdgeAttention(nn.Module):
    """Reweighs the neighbours of one edge type by their likeness to the context.

    a = softmax_j(LeakyReLU(t <g, N_j>)),  agg = sum_j a_j N_j

    g is the focal (sum of the roots) plus, below hop 1, the parent. The temperature t is learned: raw products of small
    vectors are near 0 and would weigh all alike. The public code keeps the 5 largest of its 5 neighbours and takes the
    softmax twice; the first does nothing and the second only flattens, so both are left out.

    Shapes: context [B, P, D], neighbours [B, P, k, D] -> agg [B, P, D], a [B, P, k].
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def forward(self, context_BPD: Tensor, children: Children) -> tuple[Tensor, Tensor]:
        vectors_BPkD = children.vectors_BPkD()
        logit_BPk = torch.einsum("bpd,bpkd->bpk", context_BPD, vectors_BPkD) * self.temperature
        masked_BPk = F.leaky_relu(logit_BPk).masked_fill(~children.mask_BPk, NEVER)
        weight_BPk = torch.softmax(masked_BPk, dim=2) * children.mask_BPk
        return torch.einsum("bpk,bpkd->bpd", weight_BPk, vectors_BPkD), weight_BPk


class SemanticAttention(nn.Module):
    """Reweighs a node's own vector and the aggregates of its edge types.

    l_r = ELU(<w, z_r> + <w_g, g> + b),  b = softmax_r(LeakyReLU(l)),  z = sum_r R b_r z_r

    The public code follows with a matrix on the concatenation; here each relation has its own matrix already
    (``GraphTower`` maps), and the sum keeps the residual path. w and w_g start at 0.

    Shapes: context [B, P, D], relations R x [B, P, D] -> z [B, P, D], b [B, P, R].
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.relation, self.context = zeroed(nn.Linear(dim, 1)), zeroed(nn.Linear(dim, 1, bias=False))

    def forward(self, context_BPD: Tensor, relations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return _reweighed(self.relation, self.context, torch.stack(list(relations), dim=2), context_BPD)


def _reweighed(own: nn.Linear, context: nn.Linear, parts_XKD: Tensor, context_XD: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k K a_k part_k [*, D] and a [*, K], with a = softmax_k(LeakyReLU(ELU(own(part_k) + context(c))))."""
    logit_XK = F.elu(own(parts_XKD).squeeze(-1) + context(context_XD))
    weight_XK = torch.softmax(F.leaky_relu(logit_XK), dim=-1)
    return ((weight_XK * parts_XKD.shape[-2]).unsqueeze(-1) * parts_XKD).sum(dim=-2), weight_XK
