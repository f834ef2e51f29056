"""Node features of one pinned set of tables, joined at read: ROIs hold ids only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.feed.files import files_of
from roilake.lake import DataFile
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models.batch import FeatureSchema, NodeFeatures, TypeFeatures

if TYPE_CHECKING:
    from roilake.lake import Lake

NODE_TYPES = ("user", "query", "item")
ROWS_HELD = 1_000_000


def windows_held(rows: int) -> int:
    """Of how many windows, the last ones asked for, rows (nodes or items) are kept in memory: as many as together
    have ``ROWS_HELD``, but one in use and the next, which is read meanwhile, whatever their size."""
    return max(2, ROWS_HELD // max(rows, 1))


def read_nodes(files: Sequence[DataFile]) -> dict[str, pa.Table]:
    """The rows of ``nodes`` by node type, sorted by id (columns id, terms, fields)."""
    table = _read(files, ["node_type", "id", "terms", "fields"])
    return {
        node_type: table.filter(pc.equal(table["node_type"], node_type)).sort_by("id")
        for node_type in NODE_TYPES
    }


class FeatureStore:
    """Features of all nodes by type, as of any window of a night; ``windows_held`` ones are kept in memory.

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
            node_type: int(table["id"][-1].as_py()) + 1 if table.num_rows else 0
            for node_type, table in tables.items()
        }
        self._static = {
            node_type: self._static_features(node_type, table) for node_type, table in tables.items()
        }
        self._window = lru_cache(windows_held(sum(self._sizes.values())))(self._read_window)

    @classmethod
    def open(
        cls, lake: Lake, versions: Mapping[str, int], ds: date, vocabulary: Vocabulary | None = None
    ) -> FeatureStore:
        """The store of night ``ds`` at these versions of ``nodes`` and ``interest_vectors``."""
        return cls(
            files_of(lake, "nodes", versions["nodes"], ds=ds),
            files_of(lake, "interest_vectors", versions["interest_vectors"], ds=ds),
            vocabulary,
        )

    def features(self, as_of: date) -> NodeFeatures:
        """By node type; nodes that the window's graph does not hold have zero vectors and degree 0."""
        return self._window(as_of)[0]

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
        )

    def _static_features(self, node_type: str, nodes: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        ids = nodes["id"].to_numpy()
        terms_NT = _scatter(ids, self.vocabulary.term_ids(nodes["terms"]), self._sizes[node_type])
        fields_NF = _scatter(ids, self.vocabulary.field_ids(node_type, nodes), self._sizes[node_type])
        return torch.from_numpy(terms_NT).to(self._device), torch.from_numpy(fields_NF).to(self._device)

    def _read_window(self, as_of: date) -> tuple[NodeFeatures, Mapping[str, NDArray[np.int64]]]:
        files = [file for file in self._vectors if file.partition["as_of"] == as_of.isoformat()]
        if not files:
            raise LakeError(
                f"interest_vectors: nothing as of {as_of}: run embed_interests for this night first"
            )
        table = _read(files, ["node_type", "id", "vector", "degree"])
        features, degrees = {}, {}
        for node_type, size in self._sizes.items():
            rows = table.filter(pc.equal(table["node_type"], node_type))
            ids = rows["id"].to_numpy()
            degrees[node_type] = _scatter(ids, rows["degree"].to_numpy().astype(np.int64), size)
            terms_NT, fields_NF = self._static[node_type]
            features[node_type] = TypeFeatures(
                interest_ND=torch.from_numpy(_scatter(ids, _matrix(rows["vector"], table), size)).to(
                    self._device
                ),
                events_N=torch.from_numpy(degrees[node_type]).to(self._device),
                degree_N=torch.from_numpy(_bucket(degrees[node_type])).to(self._device),
                terms_NT=terms_NT,
                fields_NF=fields_NF,
            )
        return features, degrees


def _read(files: Sequence[DataFile], columns: list[str]) -> pa.Table:
    if not files:
        raise LakeError(
            f"no data files to read {', '.join(columns)} from: run the jobs before this one first"
        )
    return pa.concat_tables([pq.read_table(file.path, columns=columns, partitioning=None) for file in files])


def _matrix(lists: pa.ChunkedArray, table: pa.Table) -> NDArray[np.float32]:
    """Equal-length list column as [rows, D]; D comes from the whole table, for a type may have no rows."""
    dim = len(table["vector"][0]) if table.num_rows else 0
    flat = pa.chunked_array([chunk.flatten() for chunk in lists.chunks], pa.float32()).to_numpy()
    return flat.reshape(len(lists), dim)


def _scatter(ids: NDArray, rows: NDArray, size: int) -> NDArray:
    """Rows placed at their ids among ``size`` zero rows."""
    out = np.zeros((size, *rows.shape[1:]), rows.dtype)
    out[ids] = rows
    return out


def _bucket(degree_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2(1 + degree)), exact for every degree below 2^52."""
    return np.frexp(1.0 + degree_N)[1].astype(np.int64) - 1
