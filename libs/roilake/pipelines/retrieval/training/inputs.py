"""What a rank trains on: batches joined with item ROIs, node features and candidates, made ahead by a thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import TrainingConfig
from roilake.pipelines.retrieval.feed.features import FeatureStore, windows_held
from roilake.pipelines.retrieval.feed.requests import RequestFeed
from roilake.pipelines.retrieval.feed.rows import HistoryItems, read_items, read_users
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.roi.layout import Layouts
from roilake.pipelines.retrieval.seen import Had
from roilake.pipelines.retrieval.training.candidates import CandidateSampler
from roilake.training.context import Context, to_device


@dataclass(frozen=True)
class TrainingData:
    """Pinned files and shapes: all that a rank needs to open its input itself. Travels to the executors."""

    requests: tuple[DataFile, ...]  # rois, side request, of the night
    items: tuple[DataFile, ...]  # rois, side item
    nodes: tuple[DataFile, ...]
    vectors: tuple[DataFile, ...]
    train: tuple[date, ...]  # as_of of the windows
    validation: tuple[date, ...]
    vocabulary: Vocabulary
    layouts: Layouts
    shards: int
    interest_dim: int
    seed: int
    histories: tuple[DataFile, ...] = ()
    history_length: int = 0  # the largest that a model of the launch reads
    max_events: int = 0  # of a history, the newest ones
    drop_seen: bool = False  # in validation


@dataclass(frozen=True)
class Step:
    """One step of one rank. Columns of ``items`` are what losses count as I; ``*_offset_I`` see ``losses``."""

    epoch: int
    number: int  # inside the epoch, from 0
    requests: RequestBatch
    items: ItemBatch
    features: NodeFeatures
    positive_BP: Tensor  # columns, -1 padded
    candidate_offset_I: Tensor


class Inputs:
    """Feeds of one rank, shared by all models that it trains. Item ROIs are held for ``windows_held`` windows."""

    def __init__(self, data: TrainingData, training: TrainingConfig, context: Context) -> None:
        self.data, self.training, self.context = data, training, context
        self.store = FeatureStore(data.nodes, data.vectors, data.vocabulary, context.device)
        self.train = self._feed(data.train)
        self.validation = self._feed(data.validation)
        held = windows_held(self.schema.num_nodes["item"])
        self.items, self._sampler = lru_cache(held)(self._read_items), lru_cache(held)(self._make_sampler)

    @property
    def schema(self) -> FeatureSchema:
        return self.store.schema(self.data.interest_dim)

    def _read_items(self, as_of: date) -> ItemBatch:
        """All items of a window, ids ascending, on the CPU."""
        paths = [file.path for file in self.data.items if file.partition["as_of"] == as_of.isoformat()]
        return read_items(paths, self.data.layouts.item.size)

    def steps(self, epochs: int, done: int = 0) -> Iterator[Step]:
        """The steps of all epochs, without the first ``done``. Candidates are the same on every rank.

        Epochs go back and forth in time, the last one forth: so the most recent past is learnt last, and where there is
        an epoch before, it is learnt first too. Going forth alone, items of the newest windows are unknown until its
        end: on MovieLens 104 of 276 steps to an NDCG@20 that 17 steps give."""
        per_epoch = self.train.steps
        for epoch in range(done // per_epoch if per_epoch else epochs, epochs):
            first = max(0, done - epoch * per_epoch)
            back = (epochs - epoch) % 2 == 0
            for number, (as_of, requests) in enumerate(self.train.batches(epoch, first, back=back), start=first):
                yield self._step(as_of, requests, epoch, number)

    def rows_of(self, as_of: date, positive_BP: Tensor) -> Tensor:
        """Row numbers in ``items(as_of)`` of item ids [B, P], -1 padded."""
        known = self.items(as_of).item_I.numpy()
        return torch.from_numpy(_find(known, positive_BP.numpy(), as_of))

    def _feed(self, windows: tuple[date, ...]) -> RequestFeed:
        """This rank's batches of the requests of these windows."""
        data = self.data
        read = self._histories(windows) if data.history_length else None
        return RequestFeed(
            self._files(windows),
            layout=data.layouts.request,
            shards=data.shards,
            batch_size=self.training.batch_size,
            positives=self.training.positives,
            rank=self.context.rank,
            workers=self.context.workers,
            seed=data.seed,
            history=HistoryItems(read, data.history_length, data.max_events) if read else None,
        )

    def _files(self, windows: tuple[date, ...]) -> list[DataFile]:
        days = {as_of.isoformat() for as_of in windows}
        return [file for file in self.data.requests if file.partition["as_of"] in days]

    def _histories(self, windows: tuple[date, ...]) -> Histories:
        """What the users of the requests of these windows did."""
        return Histories.read(self.data.histories, read_users([file.path for file in self._files(windows)]))

    @cached_property
    def had(self) -> Had:
        """What the users of the validation requests had, where validation leaves it out; else nothing."""
        return Had.of(self._histories(self.data.validation if self.data.drop_seen else ()))

    def _make_sampler(self, as_of: date) -> CandidateSampler:
        events_N, known_N = self.store.degrees("item", as_of), self.store.known("item")
        return CandidateSampler.of(events_N, self.training.candidates, known_N)

    def _step(self, as_of: date, requests: RequestBatch, epoch: int, number: int) -> Step:
        """Join a batch with its candidates and positives, features and item ROIs."""
        sampler = self._sampler(as_of)
        drawn = sampler.draw(self.data.seed, epoch, number)
        positive_BP = requests.positives_BP.numpy()
        item_I = np.union1d(drawn, positive_BP[positive_BP >= 0])
        device = self.context.device
        return Step(
            epoch,
            number,
            requests=to_device(requests, device),
            items=to_device(self._select(as_of, item_I), device),
            features=self.store.features(as_of),
            positive_BP=torch.from_numpy(_find(item_I, positive_BP, as_of)).to(device),
            candidate_offset_I=torch.from_numpy(sampler.offset(item_I, drawn)).to(device),
        )

    def _select(self, as_of: date, item_I: NDArray[np.int64]) -> ItemBatch:
        items = self.items(as_of)
        if len(item_I) == len(items.item_I):
            return items
        rows_I = torch.from_numpy(_find(items.item_I.numpy(), item_I, as_of))
        return ItemBatch(items.item_I[rows_I], items.neighbours_IS[rows_I], items.relevance_IS[rows_I])


def _find(known: NDArray[np.int64], wanted: NDArray[np.int64], as_of: date) -> NDArray[np.int64]:
    """Positions of ``wanted`` ids among the ascending ``known`` ones; -1 stays -1."""
    positions = np.searchsorted(known, wanted)
    found = np.append(known, -1)[positions] == wanted
    if not (found | (wanted < 0)).all():
        missing = wanted[~found & (wanted >= 0)][0]
        raise LakeError(f"rois: item {missing} has no item-side row as of {as_of}: run build_rois for this night")
    return np.where(wanted < 0, -1, positions)
