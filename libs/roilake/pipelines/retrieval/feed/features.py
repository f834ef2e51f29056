"""Node features of one pinned set of tables, joined at read: ROIs hold ids only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.feed.rows import matrix, read_by_type, read_nodes, scatter
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models.batch import FeatureSchema, NodeFeatures, TypeFeatures

ROWS_HELD = 1_000_000


def windows_held(rows: int) -> int:
    """Of how many windows, the last ones asked for, rows (nodes or items) are kept in memory: as many as together
    have ``ROWS_HELD``, but one in use and the next, which is read meanwhile, whatever their size."""
    return max(2, ROWS_HELD // max(rows, 1))


class FeatureStore:
    """Features of all nodes by type, as of any window of a night; ``windows_held`` ones are kept in memory. Row n is
    that of node n; numbers of nodes that the night does not know (``known``) have rows of zeros. A type without a node
    (queries, where the source has none) has one such row: models read row 0 for "none" and mask what comes of it.

    Args:
        nodes: files of the ``nodes`` table of the night.
        vectors: files of the ``interest_vectors`` table of the night (partition ``as_of``).
        vocabulary: ids of terms and categories; built from the nodes when None.
        device: where the tensors go.
    """

    def __init__(
        self,
        nodes: Sequence[DataFile],
        vectors: Sequence[DataFile],
        vocabulary: Vocabulary | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        tables = read_nodes(nodes)
        self.vocabulary = vocabulary or Vocabulary.build(tables)
        self._vectors, self._device = vectors, torch.device(device)
        self._sizes = {
            node_type: int(table["id"][-1].as_py()) + 1 if table.num_rows else 1 for node_type, table in tables.items()
        }
        self._known = {
            node_type: scatter(table["id"].to_numpy(), np.ones(len(table), bool), self._sizes[node_type])
            for node_type, table in tables.items()
        }
        self._static = {node_type: self._static_features(node_type, table) for node_type, table in tables.items()}
        self._vectors_of = {
            node_type: found
            for node_type, table in tables.items()
            if (found := self._vector(node_type, table)) is not None
        }
        self._window = lru_cache(windows_held(sum(self._sizes.values())))(self._read_window)

    def features(self, as_of: date) -> NodeFeatures:
        """By node type; nodes that the window's graph does not hold have zero vectors and degree 0."""
        return self._window(as_of)[0]

    def known(self, node_type: str) -> NDArray[np.bool_]:
        """[N] whether number n is a node of the night. Others lie between them where another pipeline gave ids."""
        return self._known[node_type]

    def degrees(self, node_type: str, as_of: date) -> NDArray[np.int64]:
        """[N] number of events of each node before the window."""
        return self._window(as_of)[1][node_type]

    def schema(self, interest_dim: int) -> FeatureSchema:
        """The sizes that a model is built with."""
        return FeatureSchema(
            num_nodes=dict(self._sizes),
            num_terms=len(self.vocabulary.terms) + 1,
            num_categories={node_type: self.vocabulary.categories(node_type) for node_type in NODE_TYPES},
            interest_dim=interest_dim,
            vector_dim={node_type: each.shape[1] for node_type, each in self._vectors_of.items()},
        )

    def _static_features(self, node_type: str, nodes: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        ids = nodes["id"].to_numpy()
        terms_NT = scatter(ids, self.vocabulary.term_ids(nodes["terms"]), self._sizes[node_type])
        fields_NF = scatter(ids, self.vocabulary.field_ids(node_type, nodes), self._sizes[node_type])
        return torch.from_numpy(terms_NT).to(self._device), torch.from_numpy(fields_NF).to(self._device)

    def _vector(self, node_type: str, nodes: pa.Table) -> torch.Tensor | None:
        """[N, V]; None where no node of the type has one."""
        told = nodes.filter(pc.is_valid(nodes["vector"]))
        if not told.num_rows:
            return None
        vector_NV = scatter(
            told["id"].to_numpy(), matrix(told["vector"], len(told["vector"][0])), self._sizes[node_type]
        )
        return torch.from_numpy(vector_NV).to(self._device)

    def _read_window(self, as_of: date) -> tuple[NodeFeatures, Mapping[str, NDArray[np.int64]]]:
        """Features by node type as of a window, and the exact degrees."""
        files = [file for file in self._vectors if file.partition["as_of"] == as_of.isoformat()]
        if not files:
            raise LakeError(f"interest_vectors: nothing as of {as_of}: run embed_interests for this night first")
        tables = read_by_type(files, "id", "vector", "degree")
        dim = max(len(rows["vector"][0]) if len(rows) else 0 for rows in tables.values())
        features, degrees = {}, {}
        for node_type, size in self._sizes.items():
            rows = tables[node_type]
            ids = rows["id"].to_numpy()
            degrees[node_type] = scatter(ids, rows["degree"].to_numpy().astype(np.int64), size)
            terms_NT, fields_NF = self._static[node_type]
            features[node_type] = TypeFeatures(
                interest_ND=torch.from_numpy(scatter(ids, matrix(rows["vector"], dim), size)).to(self._device),
                events_N=torch.from_numpy(degrees[node_type]).to(self._device),
                degree_N=torch.from_numpy(_bucket(degrees[node_type])).to(self._device),
                terms_NT=terms_NT,
                fields_NF=fields_NF,
                vector_NV=self._vectors_of.get(node_type),
            )
        return features, degrees


def _bucket(degree_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2(1 + degree)), exact for every degree below 2^52."""
    return np.frexp(1.0 + degree_N)[1].astype(np.int64) - 1
