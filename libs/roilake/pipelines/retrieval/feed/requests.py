"""An epoch of request batches: equal steps on every rank, and global batches that no number of workers changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import torch

from roilake.errors import ConfigError
from roilake.feed import read_ahead
from roilake.hashing import keyed_hash
from roilake.lake import DataFile
from roilake.pipelines.retrieval.feed.rows import HistoryItems, RequestRows, read_requests
from roilake.pipelines.retrieval.models.batch import RequestBatch
from roilake.pipelines.retrieval.roi.layout import RoiLayout

Shards = dict[int, RequestRows]


class RequestFeed:
    """Batches of the request-side ROIs in ``files`` (partitions ``as_of`` and ``shard``).

    Windows come in time order, or ``back`` from the newest to the oldest; inside a window every step takes
    ``batch_size / shards`` rows of each shard, in an order drawn per epoch. Rank r of ``workers`` serves the shards s
    with s mod workers = r, so its batch holds ``batch_size / workers`` rows; the union over ranks is the same for any
    number of workers. A window has as many steps as its largest shard needs; the others are filled up with rows of
    weight 0.

    With ``history``, batches hold the newest items of their requests' histories, found once a window.

    Decoded windows stay in memory up to ``cache_bytes``; beyond that each is read again every epoch, one window ahead
    of its use."""

    def __init__(
        self,
        files: Sequence[DataFile],
        *,
        layout: RoiLayout,
        shards: int,
        batch_size: int,
        positives: int,
        rank: int = 0,
        workers: int = 1,
        seed: int = 0,
        cache_bytes: int = 2 << 30,
        history: HistoryItems | None = None,
    ) -> None:
        if batch_size % shards or shards % workers:
            raise ConfigError(
                f"training: batch_size ({batch_size}) must be a multiple of roi.shards ({shards}), and that of "
                f"training.workers ({workers}): change one of them"
            )
        self._layout, self._positives, self._seed, self._history = layout, positives, seed, history
        self._rows_per_shard = batch_size // shards
        self._own = [shard for shard in range(shards) if shard % workers == rank]
        self._paths: dict[tuple[date, int], list[str]] = defaultdict(list)
        self._rows: dict[date, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for file in files:
            as_of, shard = date.fromisoformat(file.partition["as_of"]), int(file.partition["shard"])
            self._paths[as_of, shard].append(file.path)
            self._rows[as_of][shard] += file.rows
        self._cache: dict[date, Shards] = {}
        self._cache_bytes = cache_bytes

    @property
    def rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        return sum(sum(shards.values()) for shards in self._rows.values())

    def steps_of(self, as_of: date) -> int:
        """Steps of one window: enough for its largest shard."""
        return -(-max(self._rows[as_of].values()) // self._rows_per_shard)

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return sum(self.steps_of(as_of) for as_of in self._rows)

    def batches(self, epoch: int, start_step: int = 0, *, back: bool = False) -> Iterator[tuple[date, RequestBatch]]:
        """(window, this rank's batch) of each step of ``epoch`` from ``start_step`` on."""
        windows = ((as_of, self.steps_of(as_of)) for as_of in sorted(self._rows, reverse=back))
        for as_of, shards, first in read_ahead(windows, self._load, start_step):
            for batch in self._window_batches(shards, epoch, first, self.steps_of(as_of)):
                yield as_of, batch

    def _load(self, as_of: date) -> Shards:
        if as_of in self._cache:
            return self._cache[as_of]
        shards = {shard: self._read(self._paths.get((as_of, shard), [])) for shard in self._own}
        held = sum(rows.nbytes for window in self._cache.values() for rows in window.values())
        if held + sum(rows.nbytes for rows in shards.values()) <= self._cache_bytes:
            self._cache[as_of] = shards
        return shards

    def _read(self, paths: list[str]) -> RequestRows:
        rows = read_requests(paths, self._layout, self._positives)
        return rows.with_histories(self._history) if self._history else rows

    def _window_batches(self, shards: Shards, epoch: int, first: int, steps: int) -> Iterator[RequestBatch]:
        orders = {
            shard: np.argsort(keyed_hash(self._seed, epoch, rows.root_R[:-1]), kind="stable")
            for shard, rows in shards.items()
        }
        for step in range(first, steps):
            parts = [rows.batch(self._take(orders[shard], step)) for shard, rows in shards.items()]
            yield _concatenate(parts)

    def _take(self, order: np.ndarray, step: int) -> np.ndarray:
        start = step * self._rows_per_shard
        taken = order[start : start + self._rows_per_shard]
        padding = np.full(self._rows_per_shard - len(taken), len(order), np.int64)
        return np.concatenate([taken, padding])


def _concatenate(parts: list[RequestBatch]) -> RequestBatch:
    if len(parts) == 1:
        return parts[0]
    names = RequestBatch.__dataclass_fields__
    return RequestBatch(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
