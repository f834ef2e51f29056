"""Rows of pinned tables from their files: regions as numpy columns, read by petastorm, and what nodes are by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.feed.columns import read_columns
from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import NODE_TYPES
from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.models.batch import ItemBatch, RequestBatch
from roilake.pipelines.retrieval.roi.layout import RoiLayout

RELEVANCE_SCALE = 127.0


@dataclass(frozen=True)
class HistoryItems:
    """The newest ``length`` distinct items of each request's history, of its newest ``most`` events: for models that
    read histories whole."""

    histories: Histories
    length: int
    most: int

    def of(self, user_R: NDArray[np.int32], time_R: NDArray[np.int64]) -> NDArray[np.int32]:
        """[R, L], the newest last, -1 padded at the left."""
        return self.histories.newest(user_R, time_R, self.length, self.most).astype(np.int32)


@dataclass(frozen=True)
class RequestRows:
    """Request-side ROIs sorted by root, and one padding row behind them (weight 0, no neighbours, no positives)."""

    root_R: NDArray[np.int64]
    user_R: NDArray[np.int32]
    query_R: NDArray[np.int32]
    neighbours_RS: NDArray[np.int32]
    relevance_RS: NDArray[np.int8]
    linked_RH: NDArray[np.int8]
    ages_RH: NDArray[np.int8]
    time_R: NDArray[np.int64]
    history_RL: NDArray[np.int32]
    positives_RP: NDArray[np.int32]
    entry_H: NDArray[np.int64]
    """Entry of the ROI of each history entry: of the layout, not of the rows."""

    def __len__(self) -> int:
        return len(self.root_R) - 1

    @property
    def asked(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Users and times (microseconds) of the requests, without the padding row's."""
        return self.user_R[: len(self)], self.time_R[: len(self)]

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def with_histories(self, history: HistoryItems) -> RequestRows:
        """The same with ``history_RL``, which is empty before."""
        return replace(self, history_RL=history.of(self.user_R, self.time_R))

    def batch(self, rows_B: NDArray[np.int64]) -> RequestBatch:
        """The batch of these row numbers; ``len(self)`` is the padding row."""
        neighbours_BS = self.neighbours_RS[rows_B].astype(np.int64)
        linked_BS, recency_BS = (np.zeros(neighbours_BS.shape, np.float32) for _ in range(2))
        linked_BS[:, self.entry_H] = self.linked_RH[rows_B]
        recency_BS[:, self.entry_H] = (128 - self.ages_RH[rows_B].astype(np.float32)) / 256
        return RequestBatch(
            user_B=torch.from_numpy(self.user_R[rows_B].astype(np.int64)),
            query_B=torch.from_numpy(self.query_R[rows_B].astype(np.int64)),
            neighbours_BS=torch.from_numpy(neighbours_BS),
            relevance_BS=_relevance(self.relevance_RS[rows_B]),
            linked_BS=torch.from_numpy(linked_BS),
            recency_BS=torch.from_numpy(recency_BS * (neighbours_BS >= 0)),
            time_B=torch.from_numpy(self.time_R[rows_B]),
            history_BL=torch.from_numpy(self.history_RL[rows_B].astype(np.int64)),
            positives_BP=torch.from_numpy(self.positives_RP[rows_B].astype(np.int64)),
            weight_B=torch.from_numpy((rows_B < len(self)).astype(np.float32)),
        )


def read_requests(paths: Sequence[str], layout: RoiLayout, positives: int) -> RequestRows:
    """Read request rows of this layout, keeping the first ``positives`` items of each, whatever the files' order."""
    # petastorm stacks lists of equal length only; a request's positives are as many as it has.
    edit = "positives", np.int32, positives, lambda lists: _pad(lists, positives)
    names = ["root", "user", "query", "time", *_trees(layout.size, layout.places), "positives"]
    columns = read_columns(paths, names, edit=edit)
    rows = len(columns.get("root", ()))
    order = np.argsort(columns["root"], kind="stable") if rows else np.empty(0, np.int64)

    def column(name: str, dtype: type, pad: int, width: int | None) -> NDArray:
        shape = (rows + 1,) if width is None else (rows + 1, width)
        out: NDArray = np.full(shape, pad, dtype)
        if rows and name in columns:
            out[:-1] = columns[name][order].reshape((rows, *shape[1:]))
        return out

    if rows:
        columns["time"] = columns["time"].astype("datetime64[us]").astype(np.int64)
    return RequestRows(
        root_R=column("root", np.int64, -1, None),
        user_R=column("user", np.int32, 0, None),
        query_R=column("query", np.int32, -1, None),
        neighbours_RS=column("neighbours", np.int32, -1, layout.size),
        relevance_RS=column("relevance", np.int8, 0, layout.size),
        linked_RH=column("linked", np.int8, 0, layout.places),
        ages_RH=column("ages", np.int8, 127, layout.places),
        time_R=column("time", np.int64, 0, None),
        history_RL=np.empty((rows + 1, 0), np.int32),
        positives_RP=column("positives", np.int32, -1, positives),
        entry_H=layout.entry_H,
    )


def read_users(paths: Sequence[str]) -> NDArray[np.int32]:
    """The distinct users of request rows."""
    parts = [pq.read_table(path, columns=["user"], partitioning=None)["user"].to_numpy() for path in paths]
    return np.unique(np.concatenate([np.empty(0, np.int32), *parts]))


def read_items(paths: Sequence[str], size: int) -> ItemBatch:
    """All item-side ROIs of one window as one batch, items in ascending order."""
    columns = read_columns(paths, ["root", *_trees(size, 0)])
    item_I = columns.get("root", np.empty(0, np.int64))
    order, shape = np.argsort(item_I, kind="stable"), (len(item_I), size)
    neighbours_IS, relevance_IS = (
        columns[name][order].reshape(shape) if name in columns else np.empty(shape, np.int8)
        for name in ("neighbours", "relevance")
    )
    return ItemBatch(
        item_I=torch.from_numpy(item_I[order].astype(np.int64)),
        neighbours_IS=torch.from_numpy(neighbours_IS.astype(np.int64)),
        relevance_IS=_relevance(relevance_IS),
    )


def _trees(size: int, places: int) -> list[str]:
    """Columns of trees with so many entries and places: petastorm cannot stack lists without an entry."""
    return [*(["neighbours", "relevance"] if size else []), *(["linked", "ages"] if places else [])]


def _relevance(stored: NDArray[np.int8]) -> torch.Tensor:
    return torch.from_numpy(stored.astype(np.float32) / np.float32(RELEVANCE_SCALE))


def _pad(lists: pd.Series, width: int) -> NDArray[np.int32]:
    """The first ``width`` entries of each list, -1 padded."""
    kept = [entries[:width] for entries in lists]
    lengths_R = np.fromiter((len(entries) for entries in kept), np.int64, len(kept))
    padded_RP = np.full((len(kept), width), -1, np.int32)
    if lengths_R.any():
        padded_RP[np.arange(width) < lengths_R[:, None]] = np.concatenate(kept)
    return padded_RP


def read_nodes(files: Sequence[DataFile]) -> dict[str, pa.Table]:
    """The rows of ``nodes`` by node type, sorted by id (columns id, terms, fields, vector)."""
    return {kind: rows.sort_by("id") for kind, rows in read_by_type(files, "id", "terms", "fields", "vector").items()}


def read_by_type(files: Sequence[DataFile], *columns: str) -> dict[str, pa.Table]:
    """These columns of all files, by node type. Raises LakeError when there is no file."""
    if not files:
        raise LakeError(f"no data files to read {', '.join(columns)} from: run the steps before this one first")
    wanted = ["node_type", *columns]
    table = pa.concat_tables([_read(file.path, wanted) for file in files])
    return {kind: table.filter(pc.equal(table["node_type"], kind)).select(columns) for kind in NODE_TYPES}


def _read(path: str, columns: list[str]) -> pa.Table:
    """Columns of a file; one of an older version of the code has no vectors of facts."""
    there = [name for name in columns if name in pq.read_schema(path).names]
    rows = pq.read_table(path, columns=there, partitioning=None)
    for name in set(columns).difference(there):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.list_(pa.float32())))
    return rows.select(columns)


def matrix(lists: pa.ChunkedArray, dim: int) -> NDArray[np.float32]:
    """Equal-length list column as [rows, dim]."""
    flat = pa.chunked_array([chunk.flatten() for chunk in lists.chunks], pa.float32()).to_numpy()
    return flat.reshape(len(lists), dim)


def scatter(ids: NDArray, rows: NDArray, size: int) -> NDArray:
    """Rows put at their ids among ``size`` zero rows."""
    out = np.zeros((size, *rows.shape[1:]), rows.dtype)
    out[ids] = rows
    return out
