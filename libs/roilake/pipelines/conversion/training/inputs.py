"""What a rank learns conversions from: its shards of the pinned files, with the categories of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.conversion.config import ConversionTrainingConfig
from roilake.pipelines.conversion.feed.categories import CategoryIndex, Side, VocabularyStatistics
from roilake.pipelines.conversion.feed.files import BYTES_PER_ROW, FileBlocks, indexed, read_impressions
from roilake.pipelines.conversion.feed.impressions import (
    NO_CLICKS,
    Blocks,
    ImpressionFeed,
    InMemory,
    Stream,
    check_division,
)
from roilake.pipelines.conversion.feed.rows import ImpressionRows, concatenate
from roilake.pipelines.conversion.models import ImpressionSchema
from roilake.training.context import Context

MEMORY_BYTES = 2 << 30
VALIDATION_ROWS = 1 << 19


@dataclass(frozen=True)
class ConversionData:
    """Pinned files and shapes. Travels to the executors. ``graph`` is a safetensors file with ``FIELD.categories`` [K]
    int32 and ``FIELD.vectors`` [K, V] float32 of the fields ``user`` and ``item``."""

    train: tuple[DataFile, ...]  # impressions of split train, clicked and unclicked
    validation: tuple[DataFile, ...]
    names: tuple[str, ...]  # of the fields, in the order of column categories
    sides: tuple[Side, ...]
    shards: int
    seed: int
    graph: str | None = None
    memory_bytes: int = MEMORY_BYTES  # of a rank; what is larger is read again, block by block, in every pass


class ConversionInputs:
    """Files of one rank, shared by all models that it trains. Raises LakeError where no train row was clicked."""

    def __init__(self, data: ConversionData, training: ConversionTrainingConfig, context: Context) -> None:
        check_division(training.clicks, training.impressions, data.shards, context.workers)
        self.data, self.training, self._context = data, training, context
        self._index: CategoryIndex | None = None  # until it is known, rows are held with their categories
        self._held: dict[tuple[str, ...], ImpressionRows] = {}
        self._clicked = self._own(data.train, "1")
        self._unclicked = self._own(data.train, "0")
        statistics = self._statistics([*self._clicked, *self._unclicked])
        if not statistics.clicked:
            raise LakeError(NO_CLICKS)
        self._total = statistics.total
        self.index = self._index = statistics.index(data.names, data.sides)
        self._held = {paths: indexed(rows, self.index) for paths, rows in self._held.items()}
        self.schema = ImpressionSchema(
            self.index.fields, statistics.clicked / statistics.total, graph_vectors(data.graph, self.index)
        )
        self.validation = self._validation()

    def feed(self, pseudo: Sequence[DataFile] | None = None) -> ImpressionFeed:
        """Clicked and unclicked impressions; the unclicked ones with a teacher's pseudo-labels, if it names files."""
        unclicked = self._unclicked if pseudo is None else self._by_shard(pseudo)
        half = self.training.clicks // self.data.shards, self.training.impressions // self.data.shards
        streams = [
            Stream(self._blocks(files, pseudo is not None and stratum == 1), half[stratum], self.data.seed)
            for stratum, shards in enumerate((self._clicked, unclicked))
            for files in shards
        ]
        return ImpressionFeed(streams, self._total)

    def _own(self, files: Sequence[DataFile], labelled: str) -> list[list[DataFile]]:
        return self._by_shard([file for file in files if file.partition["labelled"] == labelled])

    def _by_shard(self, files: Sequence[DataFile]) -> list[list[DataFile]]:
        """Files of each of this rank's shards."""
        own = range(self._context.rank, self.data.shards, self._context.workers)
        return [[file for file in files if int(file.partition["shard"]) == shard] for shard in own]

    def _blocks(self, files: list[DataFile], pseudo: bool) -> Blocks:
        """In memory if this shard is no larger than its share of it, else by blocks."""
        share = self.data.memory_bytes * self._context.workers // (2 * self.data.shards)
        block_rows = share // (BYTES_PER_ROW + 4 * len(self.data.names))
        if sum(file.rows for file in files) > block_rows:
            read = partial(self._read, pseudo=pseudo)
            return FileBlocks(files, read, max(1, block_rows // 2), self.data.seed)
        paths = tuple(file.path for file in files)
        if pseudo:  # of one teacher: not kept for the students of others
            return InMemory(self._read(paths, pseudo=True))
        if paths not in self._held:
            self._held[paths] = self._read(paths, pseudo=False)
        return InMemory(self._held[paths])

    def _read(self, paths: Sequence[str], *, pseudo: bool, part: tuple[int, int] | None = None) -> ImpressionRows:
        rows = read_impressions(paths, len(self.data.names), pseudo=pseudo, part=part)
        return indexed(rows, self._index) if self._index else rows

    def _statistics(self, shards: Sequence[list[DataFile]]) -> VocabularyStatistics:
        """Of all ranks' train rows: the same on every rank."""
        width, limit = len(self.data.names), self.training.embeddings.rows
        statistics = VocabularyStatistics(width, limit)
        for files in shards:
            for rows, _ in self._blocks(files, False).blocks(0, 0):
                statistics.add(rows.row_RF, rows.inverse_rate_R, rows.click_R)
        return merged(statistics, limit, self._context)

    def _validation(self) -> ImpressionRows:
        """Of each of this rank's shards of the validation split some clicks, and as many unclicked rows, drawn by keyed
        hash; at most ``VALIDATION_ROWS`` of each over all ranks."""
        parts = [ImpressionRows.none(len(self.data.names))]
        strata = self._own(self.data.validation, "1"), self._own(self.data.validation, "0")
        for clicked, others in zip(*strata, strict=True):
            sample = self._sample(clicked, VALIDATION_ROWS // self.data.shards)
            parts += [sample, self._sample(others, len(sample))]
        return concatenate(parts)

    def _sample(self, files: list[DataFile], most: int) -> ImpressionRows:
        source = self._blocks(files, False)
        rows = min(source.rows, most)
        stream = Stream(source, max(rows, 1), self.data.seed)
        return next(stream.steps(0)) if rows else ImpressionRows.none(len(self.data.names))


def merged(statistics: VocabularyStatistics, limit: int, context: Context) -> VocabularyStatistics:
    """The statistics of all ranks as one, the same on every rank."""
    whole = VocabularyStatistics(len(statistics.known), limit)
    sums = torch.tensor([statistics.total, statistics.clicked, *(float(k is None) for k in statistics.known)]).double()
    context.allreduce(sums)
    whole.total, whole.clicked, *over = sums.tolist()
    fields = [np.full((0 if k is None else len(k)), n, np.int64) for n, k in enumerate(statistics.known)]
    values = [np.empty(0, np.int64) if k is None else k.astype(np.int64) for k in statistics.known]
    pairs = np.stack([np.concatenate(fields), np.concatenate(values)], axis=1)
    gathered = context.allgather(torch.from_numpy(pairs))[0].numpy()
    for field, more in enumerate(over):
        whole.merge(field, None if more else gathered[gathered[:, 0] == field, 1].astype(np.int32))
    return whole


def graph_vectors(path: str | None, index: CategoryIndex) -> dict[str, Tensor]:
    """Fixed vectors by field, from the file of ``ConversionData.graph``."""
    if path is None:
        return {}
    tensors = load_file(Path(path))
    names = sorted(name.removesuffix(".vectors") for name in tensors if name.endswith(".vectors"))
    return {
        name: torch.from_numpy(index.vectors(name, tensors[f"{name}.categories"], tensors[f"{name}.vectors"]))
        for name in names
    }
