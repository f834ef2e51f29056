"""Impressions and pseudo-labels read by petastorm from the active files of one pinned version, whole or by blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.feed import read_ahead, read_columns
from roilake.hashing import keyed_hash
from roilake.lake import DataFile
from roilake.pipelines.conversion.feed.categories import CategoryIndex
from roilake.pipelines.conversion.feed.rows import ImpressionRows, concatenate

COLUMNS = ("impression_id", "categories", "sampling_rate", "propensity")
LABELS = ("click", "conversion")  # of table impressions
PSEUDO = ("probability",)  # of table pseudo_labels
BYTES_PER_ROW = 28  # beside 4 for each field


def read_impressions(
    paths: Sequence[str], fields: int, *, pseudo: bool, part: tuple[int, int] | None = None
) -> ImpressionRows:
    """Rows of table ``impressions``, or of ``pseudo_labels``, whose rows are unclicked. ``row_RF`` holds categories,
    not yet rows. ``part`` (n, of) reads the n-th row group of a file that has ``of`` of them."""
    columns = read_columns(paths, (*COLUMNS, *(PSEUDO if pseudo else LABELS)), part=part)
    rows = len(columns["impression_id"]) if columns else 0
    if not rows:
        return ImpressionRows.none(fields)
    zeros = np.zeros(rows, np.float32)
    return ImpressionRows.of(
        columns["categories"],
        zeros if pseudo else _floats(columns["click"]),
        zeros if pseudo else _floats(columns["conversion"]),
        sampling_rate=_floats(columns["sampling_rate"]),
        propensity=_floats(columns["propensity"]),
        pseudo=_floats(columns["probability"]) if pseudo else None,
        key=pd.util.hash_array(columns["impression_id"].astype(object), categorize=False),
    )


class FileBlocks:
    """Rows of files that do not fit into memory: each pass takes the row groups in an order drawn by keyed hash of
    (seed, pass, row group), as many at a time as ``block_rows`` allow (one at least), and reads the next block ahead.
    So rows are shuffled inside blocks of row groups that are themselves shuffled."""

    def __init__(
        self, files: Sequence[DataFile], read: Callable[..., ImpressionRows], block_rows: int, seed: int
    ) -> None:
        self._read, self._block_rows, self._seed = read, block_rows, seed
        self._groups: list[tuple[str, int, int]] = []  # path, row group, row groups of the file
        sizes = []
        for file in files:
            metadata = pq.read_metadata(file.path)
            count = metadata.num_row_groups
            self._groups += [(file.path, group, count) for group in range(count)]
            sizes += [metadata.row_group(group).num_rows for group in range(count)]
        self._sizes = np.asarray(sizes, np.int64)

    @property
    def rows(self) -> int:
        return int(self._sizes.sum())

    def blocks(self, pass_: int, skip: int) -> Iterator[tuple[ImpressionRows, int]]:
        parts = ((block, int(self._sizes[block].sum())) for block in self._plan(pass_))
        for _, rows, skipped in read_ahead(parts, self._load, skip):
            yield rows, skipped

    def _plan(self, pass_: int) -> list[NDArray[np.int64]]:
        order = np.argsort(keyed_hash(self._seed, pass_, np.arange(len(self._sizes))), kind="stable")
        blocks: list[list[int]] = []
        held = 0
        for group in order.tolist():
            if not blocks or held + self._sizes[group] > self._block_rows:
                blocks.append([])
                held = 0
            blocks[-1].append(group)
            held += int(self._sizes[group])
        return [np.asarray(block, np.int64) for block in blocks]

    def _load(self, block: NDArray[np.int64]) -> ImpressionRows:
        groups = [self._groups[group] for group in block.tolist()]
        return concatenate([self._read([path], part=(number, of)) for path, number, of in groups])


def indexed(rows: ImpressionRows, index: CategoryIndex) -> ImpressionRows:
    """The rows with rows of embedding tables instead of categories."""
    return replace(rows, row_RF=index.rows_of(rows.row_RF))


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    """A null, whatever way it came, is NaN."""
    return pd.to_numeric(values).astype(np.float32)
