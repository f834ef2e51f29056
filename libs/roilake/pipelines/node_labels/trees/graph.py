"""A graph on disk, and the part of it around some nodes as what a model sees.

Legend of shape suffixes: B roots, n nodes of all their trees; and as in ``node_labels.models.batch``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roilake.pipelines.node_labels.distribution.rows import Rows, load
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.pipelines.node_labels.training.inputs import feature_rows
from roilake.pipelines.node_labels.trees.layout import DENSE
from roilake.pipelines.node_labels.trees.sample import sample_forest

_ALWAYS = -1
"""In place of a pass: what is predicted is predicted from the same trees every time."""


@dataclass(frozen=True)
class Trees:
    """Nodes of a graph that ``lay_out_night`` wrote, each seen with a tree of its own: ``fan_out`` neighbours, hop by
    hop. ``features`` is how many there are; ``batch`` nodes are held at a time."""

    neighbours: Rows
    owned: Rows
    dense: Sequence[NDArray[np.float32]]  # of DENSE
    features: int
    fan_out: tuple[int, ...]
    batch: int
    seed: int

    @classmethod
    def open(cls, folder: Path, features: int, fan_out: Sequence[int], batch: int, seed: int) -> Trees:
        """Map the files."""
        neighbours, owned = (Rows.open(folder / name) for name in ("neighbours", "features"))
        dense = [load(folder / f"{name}.npy").reshape(neighbours.nodes, -1) for name in DENSE]
        return cls(neighbours, owned, dense, features, tuple(fan_out), batch, seed)

    def shape(self, classes: int) -> GraphShape:
        """Sizes of a model."""
        return GraphShape.of(self.none(), classes)

    def none(self) -> NodeGraph:
        """Around no node at all."""
        return self.around(torch.zeros(0, dtype=torch.int64))[0]

    def around(self, root_B: Tensor, number: int = _ALWAYS) -> tuple[NodeGraph, Tensor]:
        """The trees of some nodes as one graph of parts that are not linked, and where in it the roots are. They are
        those of pass ``number``."""
        forest = sample_forest(self.neighbours, root_B.numpy(), self.fan_out, self.seed, number)
        owned = self.owned.take(forest.node_n)
        features = feature_rows(torch.from_numpy(owned.offsets_N1), torch.from_numpy(owned.ids_E), self.features)
        dense = (torch.from_numpy(np.asarray(array[forest.node_n])) for array in self.dense)
        graph = NodeGraph(features, torch.from_numpy(forest.edge_2e), *dense)
        return graph, torch.from_numpy(forest.root_B)

    @torch.no_grad()
    def predict(self, model: nn.Module, node_M: Tensor, device: torch.device) -> Tensor:
        """Logarithms of the probabilities of all classes of some nodes [M, C], without dropout, ``batch`` at a time. A
        node's are the same whichever others are asked for."""
        if not len(node_M):
            return self.predict(model, torch.zeros(1, dtype=torch.int64), device)[:0]
        before, found = model.training, []
        model.eval()
        for root_B in node_M.split(self.batch):
            graph, place_B = self.around(root_B)
            logit_BC = model(graph.on(device))[place_B.to(device)]
            found.append(logit_BC.float().log_softmax(dim=1).cpu())
        model.train(before)
        return torch.cat(found)
