"""Rows of pinned tables from their files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import NODE_TYPES


def read_nodes(files: Sequence[DataFile]) -> dict[str, pa.Table]:
    """The rows of ``nodes`` by node type, sorted by id (columns id, terms, fields)."""
    return {kind: rows.sort_by("id") for kind, rows in read_by_type(files, "id", "terms", "fields").items()}


def read_by_type(files: Sequence[DataFile], *columns: str) -> dict[str, pa.Table]:
    """These columns of all files, by node type. Raises LakeError when there is no file."""
    if not files:
        raise LakeError(f"no data files to read {', '.join(columns)} from: run the steps before this one first")
    wanted = ["node_type", *columns]
    table = pa.concat_tables([pq.read_table(file.path, columns=wanted, partitioning=None) for file in files])
    return {kind: table.filter(pc.equal(table["node_type"], kind)).select(columns) for kind in NODE_TYPES}


def matrix(lists: pa.ChunkedArray, dim: int) -> NDArray[np.float32]:
    """Equal-length list column as [rows, dim]."""
    flat = pa.chunked_array([chunk.flatten() for chunk in lists.chunks], pa.float32()).to_numpy()
    return flat.reshape(len(lists), dim)


def scatter(ids: NDArray, rows: NDArray, size: int) -> NDArray:
    """Rows put at their ids among ``size`` zero rows."""
    out = np.zeros((size, *rows.shape[1:]), rows.dtype)
    out[ids] = rows
    return out
