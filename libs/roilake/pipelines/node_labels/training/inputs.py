"""What the models of a night are trained from: the graph and the labels that they may see, as one file that every rank
opens.

Legend as in ``node_labels.models.batch``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from roilake.pipelines.node_labels.models import NodeGraph
from roilake.runtime.step import Recorder

SEEN = ("train", "validation")
"""Splits whose labels training may see: the one learns, the other chooses the step that is kept."""


@dataclass(frozen=True)
class NodeInputs:
    """A graph, the number of each node's label (-1 where it may not be seen, or is not known), and the nodes of the
    splits that may."""

    graph: NodeGraph
    label_N: Tensor
    train_T: Tensor
    validation_V: Tensor
    classes: int

    def save(self, path: Path) -> None:
        """As one file."""
        graph = self.graph
        save_file(
            {
                "indptr": graph.features_NF.crow_indices().contiguous(),
                "features": graph.features_NF.col_indices().contiguous(),
                "values": graph.features_NF.values().contiguous(),
                "shape": torch.tensor([*graph.features_NF.shape, self.classes]),
                "edges": graph.edge_2E.contiguous(),
                "topology": graph.topology_NM,
                "position": graph.position_NS,
                "similarity": graph.similarity_NB,
                "label": self.label_N,
                "train": self.train_T,
                "validation": self.validation_V,
            },
            path,
        )

    @classmethod
    def open(cls, path: Path) -> NodeInputs:
        """What ``save`` wrote."""
        found = load_file(path)
        nodes, features, classes = found["shape"].tolist()
        graph = NodeGraph(
            sparse(found["indptr"], found["features"], found["values"], (nodes, features)),
            found["edges"],
            found["topology"],
            found["position"],
            found["similarity"],
        )
        return cls(graph, found["label"], found["train"], found["validation"], classes)


def sparse(indptr: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR matrix."""
    return torch.sparse_csr_tensor(indptr, column, value, shape, check_invariants=False)


def classes_of(nodes: pa.Table) -> tuple[str, ...]:
    """The labels that models may give, in order: those of the split that they learn from."""
    return tuple(sorted(nodes.filter(pc.field("split") == "train")["label"].unique().to_pylist()))


def all_labels(nodes: pa.Table) -> tuple[str, ...]:
    """``classes_of``, and after them what other nodes have."""
    classes = classes_of(nodes)
    return (*classes, *sorted({*nodes["label"].drop_null().unique().to_pylist()} - {*classes}))


def read_graph(record: Recorder) -> tuple[NodeGraph, pa.Table]:
    """The night's graph, and its rows of ``graph_nodes`` in order of their number."""
    nodes = record.rows("graph_nodes").sort_by("node").combine_chunks()
    known = record.rows("node_distributions").sort_by("node").combine_chunks()
    names = record.rows("graph_features", columns=["feature"]).num_rows
    pairs = record.rows("graph_edges", columns=["src", "dst"])
    distribution = [_matrix(known[name]) for name in ("topology", "position", "similarity")]
    return NodeGraph(_features(nodes, names), edges_of(pairs, nodes.num_rows), *distribution), nodes


def edges_of(pairs: pa.Table, nodes: int) -> Tensor:
    """Both ways [2, E], by (target, source)."""
    src, dst = (pairs[name].to_numpy().astype(np.int64) for name in ("src", "dst"))
    source, target = np.concatenate([src, dst]), np.concatenate([dst, src])
    order = np.argsort(target * nodes + source)
    return torch.from_numpy(np.stack([source[order], target[order]]))


def label_numbers(nodes: pa.Table, classes: Sequence[str], splits: Sequence[str]) -> NDArray[np.int64]:
    """The number of the label of each node of these splits [N]; -1 for all others, and for a label that is not among
    ``classes``."""
    number = pc.index_in(nodes["label"], value_set=pa.array(classes, pa.string())).fill_null(-1).to_numpy()
    counts = pc.is_in(nodes["split"], value_set=pa.array(splits, pa.string())).to_numpy()
    return np.where(counts, number, -1).astype(np.int64)


def _features(nodes: pa.Table, names: int) -> Tensor:
    lists = nodes["features"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    indptr = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return feature_rows(indptr, torch.from_numpy(lists.flatten().to_numpy().astype(np.int64)), names)


def feature_rows(start_N1: Tensor, column_E: Tensor, features: int) -> Tensor:
    """What each node has, with value 1 [N, F]."""
    return sparse(start_N1, column_E.long(), torch.ones(len(column_E)), (len(start_N1) - 1, features))


def _matrix(column: pa.ChunkedArray) -> Tensor:
    lists = column.combine_chunks()
    return torch.from_numpy(lists.flatten().to_numpy().astype(np.float32).reshape(len(lists), -1))
