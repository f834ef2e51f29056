"""Meta-weights: what a node's surroundings are like, and the gates on its edges that they set.

A reconstruction: the equations of Ma et al., "Meta-weight graph neural network" (2022, arXiv 2203.10280) are not in
public text. The abstract says that meta-weights come from a node's topology, features and position.

Legend of shape suffixes: N nodes, E edges, Z meta coordinates, D states, Q sources."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import SparseLinear
from roilake.pipelines.node_labels.models.sparse import Pattern
from roilake.training.dropout import Dropout

META, SCORE = 64, 16
GateKind = Literal["one", "positive", "signed"]
_FLAT = 1e-6  # added to a variance: its root has no gradient at 0


class FeatureDistribution(nn.Module):
    """f_i = [y_i || mean_{j in N(i)} y_j || std_{j in N(i)} y_j || similarity_i] with y = W x [N, 3 Z + B]."""

    def __init__(self, shape: GraphShape, dropout: float) -> None:
        super().__init__()
        self.map = SparseLinear(shape.features, META, dropout)
        self.width = 3 * META + shape.bins

    def forward(self, graph: NodeGraph) -> Tensor:
        pattern, own_NZ = graph.neighbours, self.map(graph)
        squares_NZ = torch.cat([own_NZ, own_NZ.square()], dim=1)
        mean_NZ, square_NZ = pattern.product(pattern.mean_E, squares_NZ).chunk(2, dim=1)
        spread_NZ = (F.relu(square_NZ - mean_NZ.square()) + _FLAT).sqrt()
        return torch.cat([own_NZ, mean_NZ, spread_NZ, graph.similarity_NB], dim=1)


class Attention(nn.Module):
    """sum_q b_q z_q of parts z [N, Q, D], b = softmax of v^T tanh(U z_q) + a_q over q; a_1 is ``lead`` at the start,
    the others 0."""

    def __init__(self, parts: int, width: int, lead: float = 0.0) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, SCORE), nn.Tanh(), nn.Linear(SCORE, 1, bias=False))
        self.lead_Q = nn.Parameter(torch.tensor([lead, *[0.0] * (parts - 1)]))

    def forward(self, parts: list[Tensor]) -> Tensor:
        part_NQD = torch.stack(parts, dim=1)
        weight_NQ = (self.score(part_NQD).squeeze(2) + self.lead_Q).softmax(dim=1)
        return (weight_NQ[:, :, None] * part_NQD).sum(dim=1)


class MetaWeights(nn.Module):
    """M_i = sum_q b_q c_i^q over the sources q that are on, c^q = MLP(q): topology t_i, position p_i, and features f_i
    as ``FeatureDistribution`` has them; b as in ``Attention``. Also [c^T || c^P], those that are on."""

    def __init__(self, shape: GraphShape, sources: dict[str, bool], dropout: float) -> None:
        super().__init__()
        features = FeatureDistribution(shape, dropout)
        widths = {"topology": shape.landmarks, "position": shape.anchors, "feature": features.width}
        self.maps = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, META), nn.ReLU(), Dropout(dropout), nn.Linear(META, META))
                for name, width in widths.items()
                if sources[name]
            }
        )
        if "feature" in self.maps:
            self.features = features
        if len(self.maps) > 1:
            self.attention = Attention(len(self.maps), META)
        self.structure = META * len(self.maps.keys() - {"feature"})

    def forward(self, graph: NodeGraph) -> tuple[Tensor, Tensor]:
        """M [N, Z], and the structure alone [N, 2 Z]."""
        inputs = {"topology": graph.topology_NM, "position": graph.position_NS}
        structure = [self.maps[name](inputs[name]) for name in inputs if name in self.maps]
        parts = [*structure, self.maps["feature"](self.features(graph))] if "feature" in self.maps else structure
        meta_NZ = self.attention(parts) if len(parts) > 1 else parts[0]
        return meta_NZ, torch.cat(structure, dim=1) if structure else meta_NZ[:, :0]


class Gate(nn.Module):
    """g_ij of each edge j -> i from l_ij = (u^T m_i + w^T m_j) / width^1/2, u and w zero at the start, so that g = 1:

    positive  2 sigmoid(l)
    signed    1 + 2 tanh(l / 4): between -1 and 3, with the same slope at 0 (ours)

    m is the meta-weight, and with ``states`` the node's state behind it (ours)."""

    def __init__(self, kind: GateKind, width: int) -> None:
        super().__init__()
        self.kind, self.scale = kind, width**-0.5  # Adam's first steps would throw gates about without it
        self.ends = nn.Linear(width, 2, bias=False)
        nn.init.zeros_(self.ends.weight)

    def forward(self, meta_NZ: Tensor, pattern: Pattern) -> Tensor:
        """g [E]."""
        target_N, source_N = (self.ends(meta_NZ) * self.scale).unbind(1)
        logit_E = target_N.index_select(0, pattern.row_E) + source_N.index_select(0, pattern.column_E)
        return 2 * torch.sigmoid(logit_E) if self.kind == "positive" else 1 + 2 * torch.tanh(logit_E / 4)
