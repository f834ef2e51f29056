"""Data sets of the benchmark of node labels: homophilous and heterophilous graphs with ten splits each.

Legend of shape suffixes: N nodes, E directed edges, F features, K splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from roilake.pipelines.node_labels.distribution import DistributionRules
from roilake.pipelines.node_labels.distribution.build import distribute_in_memory
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.models import NodeGraph

CITATIONS = ("cora", "citeseer")
HETEROPHILOUS = (
    "texas", "wisconsin", "cornell", "chameleon_filtered", "chameleon", "actor", "squirrel", "minesweeper",
)  # fmt: skip
SETS = (*HETEROPHILOUS[:3], *CITATIONS, *HETEROPHILOUS[3:])
"""From small to large."""
SPLITS, SEED = 10, 0
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class NodeData:
    """A graph with all its labels (-1 unknown), and masks [K, N] of its splits."""

    name: str
    graph: NodeGraph
    label_N: NDArray[np.int64]
    train_KN: Masks
    validation_KN: Masks
    test_KN: Masks

    @property
    def classes(self) -> int:
        return int(self.label_N.max()) + 1

    @property
    def binary(self) -> bool:
        """Whether models are judged by ROC AUC."""
        return self.classes == 2

    def nodes(self, split: int) -> Iterator[Tensor]:
        """Nodes of train, validation and test."""
        masks = (self.train_KN, self.validation_KN, self.test_KN)
        return (torch.from_numpy(np.flatnonzero(mask[split])) for mask in masks)

    def seen_labels(self, split: int) -> Tensor:
        """Labels of train and validation; -1 of all other nodes."""
        seen_N = self.train_KN[split] | self.validation_KN[split]
        return torch.from_numpy(np.where(seen_N, self.label_N, -1))


def load(name: str) -> NodeData:
    """A data set by name, from ``$ROILAKE_DATA``."""
    folder = Path(os.environ.get("ROILAKE_DATA", "../shared/data"))
    if name in CITATIONS:
        features_NF, label_N, edges, masks = _citations(folder / name)
    else:
        features_NF, label_N, edges, masks = _arrays(folder / "heterophilous" / f"{name}.npz")
    return NodeData(name, make_graph(features_NF, edges), label_N, *masks)


Raw = tuple[csr_matrix, NDArray[np.int64], NDArray[np.int64], tuple[Masks, Masks, Masks]]


def _arrays(path: Path) -> Raw:
    """All but minesweeper's features are words that a node has or has not."""
    with np.load(path, allow_pickle=False) as found:
        masks = found["train_masks"], found["val_masks"], found["test_masks"]
        features_NF = csr_matrix(found["node_features"].astype(np.float64))
        features_NF = features_NF if path.stem == "minesweeper" else unit_rows(features_NF)
        return features_NF, found["node_labels"].astype(np.int64), found["edges"].astype(np.int64), masks


def _citations(folder: Path) -> Raw:
    """Columns of nodes: id, label, numbers of the words that it has."""
    rows = [line.split("\t") for line in (folder / "nodes.tsv").read_text().splitlines()]
    words = [np.array(row[2].split(",") if len(row) > 2 and row[2] else [], np.int64) for row in rows]
    starts = np.cumsum([0, *map(len, words)])
    features_NF = csr_matrix((np.ones(starts[-1]), np.concatenate(words), starts))
    edges = np.loadtxt(folder / "edges.tsv", dtype=np.int64)
    splits = [np.load(folder / f"{folder.name}_split_0.6_0.2_{k}.npz", allow_pickle=False) for k in range(SPLITS)]
    train, validation, test = (
        np.stack([split[f"{part}_mask"].astype(bool) for split in splits]) for part in ("train", "val", "test")
    )
    return unit_rows(features_NF), np.array([int(row[1]) for row in rows]), edges, (train, validation, test)


def unit_rows(features_NF: csr_matrix) -> csr_matrix:
    """Each node's features have length 1; a night's have value 1 each (see ``feature_rows``). Rows that add up to 1 are
    common too, but learn slowly."""
    length_N = np.sqrt(np.asarray(features_NF.multiply(features_NF).sum(axis=1)).ravel())
    return features_NF.multiply(1 / np.where(length_N > 0, length_N, 1)[:, None]).tocsr()


def make_graph(features_NF: csr_matrix, edges_E2: NDArray[np.int64]) -> NodeGraph:
    """The graph of undirected edges, with the node distributions that a night has. Loops and doubles go."""
    nodes = features_NF.shape[0]
    kept = edges_E2[edges_E2[:, 0] != edges_E2[:, 1]]
    both = np.concatenate([kept, kept[:, ::-1]])
    key_E = np.unique(both[:, 0] * nodes + both[:, 1])
    edge_2E = np.stack([key_E % nodes, key_E // nodes])
    owned = Rows(features_NF.indptr.astype(np.int64), features_NF.indices.astype(np.int32))
    known = distribute_in_memory(edge_2E, owned, nodes, DistributionRules(seed=SEED))
    parts = known.topology_NM, known.position_NS, known.similarity_NC
    return NodeGraph(sparse_csr(features_NF), torch.from_numpy(edge_2E), *map(torch.from_numpy, parts))


def sparse_csr(matrix: csr_matrix) -> Tensor:
    """As torch has it, float32."""
    matrix.sort_indices()
    index = [torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices)]
    values = torch.from_numpy(matrix.data.astype(np.float32))
    return torch.sparse_csr_tensor(*index, values, matrix.shape, check_invariants=False)
