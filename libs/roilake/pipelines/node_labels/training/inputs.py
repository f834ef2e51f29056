"""What the models of a night are trained from: its graph, and the labels that they may see.

Legend as in ``node_labels.models.batch``; M some nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.pipelines.node_labels.training.task import predict
from roilake.runtime.step import Recorder

SEEN = ("train", "validation")
"""Splits whose labels training may see: the one learns, the other chooses the step that is kept."""


class Graph(Protocol):
    """A graph that models are trained and used on, whole or by trees."""

    @property
    def neighbours(self) -> Rows:
        """Of each node."""

    def shape(self, classes: int) -> GraphShape:
        """Sizes of a model."""

    def predict(self, model: nn.Module, node_M: Tensor, device: torch.device) -> Tensor:
        """Logarithms of the probabilities of all classes of some nodes [M, C], without dropout, on the CPU."""


@dataclass(frozen=True)
class WholeGraph:
    """A graph that each rank holds."""

    graph: NodeGraph

    @property
    def neighbours(self) -> Rows:
        pattern = self.graph.neighbours
        return Rows(pattern.start_R1.numpy(), pattern.column_E.int().numpy())

    def shape(self, classes: int) -> GraphShape:
        return GraphShape.of(self.graph, classes)

    def predict(self, model: nn.Module, node_M: Tensor, device: torch.device) -> Tensor:
        return predict(model, self.graph.on(device)).cpu()[node_M]

    def save(self, path: Path) -> None:
        """As one file."""
        graph = self.graph
        save_file(
            {
                "indptr": graph.features_NF.crow_indices().contiguous(),
                "features": graph.features_NF.col_indices().contiguous(),
                "shape": torch.tensor(graph.features_NF.shape),
                "edges": graph.edge_2E.contiguous(),
                "topology": graph.topology_NM,
                "position": graph.position_NS,
                "similarity": graph.similarity_NB,
            },
            path,
        )

    @classmethod
    def open(cls, path: Path) -> WholeGraph:
        """What ``save`` wrote."""
        found = load_file(path)
        features_NF = feature_rows(found["indptr"], found["features"], int(found["shape"][1]))
        dense = (found[name] for name in ("topology", "position", "similarity"))
        return cls(NodeGraph(features_NF, found["edges"], *dense))


@dataclass(frozen=True)
class NodeInputs:
    """A graph, the number of each node's label (-1 where it may not be seen, or is not known), and the nodes of the
    splits that may."""

    graph: Graph
    label_N: Tensor
    train_T: Tensor
    validation_V: Tensor
    classes: int


def feature_rows(start_N1: Tensor, column_E: Tensor, features: int) -> Tensor:
    """What each node has, with value 1 [N, F].

    With rows of unit length GCN and GAT are better on citeseer by 1.5 points of validation accuracy, but GCN and
    GraphSAGE worse on MovieLens by 6 and 2; all else that was tried is within 1 (means of three seeds)."""
    shape = len(start_N1) - 1, features
    ones_E = torch.ones(len(column_E))
    return torch.sparse_csr_tensor(start_N1, column_E.long(), ones_E, shape, check_invariants=False)


def classes_of(nodes: pa.Table) -> tuple[str, ...]:
    """The labels that models may give, in order: those of the split that they learn from."""
    return tuple(sorted(nodes.filter(pc.field("split") == "train")["label"].unique().to_pylist()))


def all_labels(nodes: pa.Table) -> tuple[str, ...]:
    """``classes_of``, and after them what other nodes have."""
    classes = classes_of(nodes)
    return (*classes, *sorted({*nodes["label"].drop_null().unique().to_pylist()} - {*classes}))


def label_numbers(nodes: pa.Table, classes: Sequence[str], splits: Sequence[str]) -> NDArray[np.int64]:
    """The number of the label of each node of these splits [N]; -1 for all others, and for a label that is not among
    ``classes``."""
    number = pc.index_in(nodes["label"], value_set=pa.array(classes, pa.string())).fill_null(-1).to_numpy()
    counts = pc.is_in(nodes["split"], value_set=pa.array(splits, pa.string())).to_numpy()
    return np.where(counts, number, -1).astype(np.int64)


def read_nodes(record: Recorder, columns: Collection[str] = ("node", "label", "split")) -> pa.Table:
    """The night's rows of ``graph_nodes``, in order of their number."""
    return record.rows("graph_nodes", columns=columns).sort_by("node").combine_chunks()


def read_graph(record: Recorder) -> WholeGraph:
    """The night's graph."""
    nodes = read_nodes(record, ("node", "features"))
    known = record.rows("node_distributions").sort_by("node").combine_chunks()
    names = record.rows("graph_features", columns=["feature"]).num_rows
    pairs = record.rows("graph_edges", columns=["src", "dst"])
    distribution = [_matrix(known[name]) for name in ("topology", "position", "similarity")]
    return WholeGraph(NodeGraph(_features(nodes, names), edges_of(pairs, nodes.num_rows), *distribution))


def edges_of(pairs: pa.Table, nodes: int) -> Tensor:
    """Both ways [2, E], by (target, source)."""
    src, dst = (pairs[name].to_numpy().astype(np.int64) for name in ("src", "dst"))
    source, target = np.concatenate([src, dst]), np.concatenate([dst, src])
    order = np.argsort(target * nodes + source)
    return torch.from_numpy(np.stack([source[order], target[order]]))


def _features(nodes: pa.Table, names: int) -> Tensor:
    lists = nodes["features"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    start_N1 = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return feature_rows(start_N1, torch.from_numpy(lists.flatten().to_numpy().copy()), names)


def _matrix(column: pa.ChunkedArray) -> Tensor:
    lists = column.combine_chunks()
    return torch.from_numpy(lists.flatten().to_numpy().astype(np.float32).reshape(len(lists), -1))
