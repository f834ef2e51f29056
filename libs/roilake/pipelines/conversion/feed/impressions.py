"""The two streams that a conversion model learns from, clicked and unclicked impressions, without an end.

Legend: B rows of a batch, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roilake.errors import ConfigError, LakeError
from roilake.hashing import keyed_hash
from roilake.pipelines.conversion.feed.rows import ImpressionRows, concatenate
from roilake.pipelines.conversion.models import ImpressionBatch


class Blocks(Protocol):
    """The rows of one shard of a stratum, a block at a time."""

    @property
    def rows(self) -> int:
        """Rows of all blocks."""

    def blocks(self, pass_: int, skip: int) -> Iterator[tuple[ImpressionRows, int]]:
        """The blocks of a pass, in its order, from the one that holds its row number ``skip`` on; and how many rows of
        that block are to be skipped."""


@dataclass(frozen=True)
class InMemory:
    """One block that holds all."""

    held: ImpressionRows

    @property
    def rows(self) -> int:
        return len(self.held)

    def blocks(self, pass_: int, skip: int) -> Iterator[tuple[ImpressionRows, int]]:
        yield self.held, skip


class Stream:
    """Endless rows of one shard of a stratum, ``per_step`` a step. A pass holds every row once; inside a block rows
    are in an order drawn by keyed hash of (seed, pass, row)."""

    def __init__(self, source: Blocks, per_step: int, seed: int) -> None:
        self.source, self.per_step, self._seed = source, per_step, seed

    def steps(self, start_step: int) -> Iterator[ImpressionRows]:
        """The rows of each step from ``start_step`` on; the same as if the steps before had been taken."""
        parts, wanted = [], self.per_step
        for rows, order in self._ordered(start_step * self.per_step):
            at = 0
            while at < len(order):
                part = order[at : at + wanted]
                parts.append(rows.at(part))
                at += len(part)
                wanted -= len(part)
                if wanted == 0:
                    yield concatenate(parts)
                    parts, wanted = [], self.per_step

    def _ordered(self, position: int) -> Iterator[tuple[ImpressionRows, NDArray[np.int64]]]:
        pass_, skip = divmod(position, self.source.rows)
        while True:
            for rows, skipped in self.source.blocks(pass_, skip):
                order = np.argsort(keyed_hash(self._seed, pass_, rows.key_R), kind="stable")
                yield rows, order[skipped:]
            pass_, skip = pass_ + 1, 0


class ImpressionFeed:
    """Batches of ``clicks`` clicked and ``impressions`` unclicked rows over all ranks.

    The rows of a shard s of a stratum weigh w = N_s / (n_s M) / sampling rate, with N_s its rows, n_s those of a step
    and M the sum of 1 / sampling rate over all rows D of both strata: sum_B w l estimates the mean of l over D, and the
    weights of a global batch add up to 1 in expectation (exactly, if nothing was sampled). A shard without rows gives
    none. Rank r of ``workers`` serves the shards s with s mod workers = r, so the union over ranks is the same for any
    number of workers."""

    def __init__(self, streams: Sequence[Stream], total_weight: float) -> None:
        self._streams = [stream for stream in streams if stream.source.rows]
        self._scales = [stream.source.rows / (stream.per_step * total_weight) for stream in self._streams]

    @classmethod
    def of_rows(
        cls,
        rows: ImpressionRows,
        *,
        clicks: int,
        impressions: int,
        seed: int,
        shards: int = 1,
        rank: int = 0,
        workers: int = 1,
    ) -> ImpressionFeed:
        """From rows in memory, all of them on every rank; shards by key."""
        check_division(clicks, impressions, shards, workers)
        streams = []
        for stratum, per_step in ((rows.click_R > 0, clicks), (rows.click_R == 0, impressions)):
            for shard in range(rank, shards, workers):
                held = rows.at(stratum & (rows.key_R % np.uint64(shards) == shard))
                streams.append(Stream(InMemory(held), per_step // shards, seed))
        if not (rows.click_R > 0).any():
            raise LakeError(NO_CLICKS)
        return cls(streams, float(rows.inverse_rate_R.sum(dtype=np.float64)))

    def batches(self, start_step: int = 0) -> Iterator[ImpressionBatch]:
        """This rank's batch of each step from ``start_step`` on."""
        steps = [stream.steps(start_step) for stream in self._streams]
        while True:
            parts = [next(step) for step in steps]
            weights = [p.inverse_rate_R * np.float32(s) for p, s in zip(parts, self._scales, strict=True)]
            yield concatenate(parts).batch(np.concatenate(weights))


NO_CLICKS = (
    "impressions: no clicked row in split train, so there is no conversion to learn from: check "
    "source.columns.click, or give the night more days"
)


def check_division(clicks: int, impressions: int, shards: int, workers: int) -> None:
    """Raises ConfigError unless every shard gives a whole number of rows and every rank serves equally many shards."""
    if clicks % shards or impressions % shards or shards % workers:
        raise ConfigError(
            f"training: clicks ({clicks}) and impressions ({impressions}) must be multiples of impressions.shards "
            f"({shards}), and that of training.workers ({workers}): change one of them"
        )
