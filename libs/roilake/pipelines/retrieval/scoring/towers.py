"""A night's models opened for inference: ROIs in, request and item vectors out.

All that a worker needs is plain data in ``Night``, so an executor opens the pinned files itself. Requests are embedded
where they are used, shard by shard, in batches that depend on the data alone; items once, on the driver, and so are
models of the user-item matrix alone. Legend: R requests, I items, D dimension."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from roilake.errors import LakeError
from roilake.pipelines.retrieval.feed.features import FeatureStore
from roilake.pipelines.retrieval.feed.rows import HistoryItems, RequestRows, read_items, read_requests, scatter
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.models import (
    Fitted,
    TwinTower,
    build,
    check,
    fit,
    history_length,
    is_matrix_kind,
    load_fitted,
)
from roilake.pipelines.retrieval.models.batch import split
from roilake.pipelines.retrieval.scoring.negatives import Linked
from roilake.pipelines.retrieval.scoring.pinned import Night, Shard, Tower, index_path, item_vectors
from roilake.pipelines.retrieval.scoring.topk import FromHistory, Product, Scorer
from roilake.pipelines.retrieval.seen import Had, Seen

BATCH = 512


@dataclass
class Worker:
    """Opens a night's features and models in one process."""

    night: Night
    _stores: dict[str, FeatureStore] = field(default_factory=dict)
    _known: tuple[NDArray[np.int32], Histories] | None = None  # of the users asked for last

    def store(self, tower: Tower | None = None) -> FeatureStore:
        """Features with the ids of the tower's own vocabulary (without a tower or a file: the night's)."""
        path = Path(tower.folder) / "vocabulary.json" if tower else None
        text = path.read_text() if path and path.exists() else ""
        if text not in self._stores:
            vocabulary = Vocabulary.from_json(text) if text else None
            self._stores[text] = FeatureStore(self.night.nodes, self.night.vectors, vocabulary)
        return self._stores[text]

    def open(self, tower: Tower) -> TwinTower:
        """The model with its weights, ready for inference."""
        schema = self.store(tower).schema(self.night.interest_dim)
        model = build(tower.kind, dict(tower.options), schema, *self.night.layouts)
        weights = Path(tower.folder) / "weights.safetensors"
        if model.trainable and not weights.exists():
            raise LakeError(f"{weights}: missing; run train_models for this night again")
        if weights.exists():
            _load(model, weights)
        return model.eval()

    def requests(self, shard: Shard, *, positives: bool) -> RequestRows:
        """The shard's rows, by request id; with all their positives, or with the first only."""
        width = max(map(_longest, shard.paths), default=0) if positives else 1
        return read_requests(shard.paths, self.night.layouts.request, width)

    def scorer(self, tower: Tower, as_of: date, rows: RequestRows) -> Scorer:
        """Scores of all items for these requests, from the index that ``write_index`` left."""
        path = index_path(self.night, tower, as_of)
        if is_matrix_kind(tower.kind):
            return FromHistory(load_fitted(path), self.history(tower, rows), self.absent_items())
        return self.product(tower, as_of, rows)

    def product(self, tower: Tower, as_of: date, rows: RequestRows) -> Product:
        """The same of a tower, as vectors. LakeError for a model that has none."""
        vectors_ID = item_vectors(self.night, tower, as_of)
        return Product(self.embed(tower, as_of, rows), vectors_ID, self.absent_items())

    def history(self, tower: Tower, rows: RequestRows) -> sp.csr_matrix:
        """What the user of each request had before its time, of his newest events, as this model of the user-item
        matrix reads it: [R, I] float32."""
        options: Any = check(tower.kind, dict(tower.options))
        items, most = self.store().schema(self.night.interest_dim).num_nodes["item"], self.night.max_events
        return self.histories(rows).items(*rows.asked, items, most, options.half_life_items)

    def absent_items(self) -> NDArray[np.int64]:
        """Numbers below the largest item's that are no items of the night."""
        return np.flatnonzero(~self.store().known("item"))

    def fit(self, tower: Tower, as_of: date, progress: Callable[[str], None]) -> Fitted:
        """A model of the user-item matrix alone, fitted to who had what before ``as_of``, whatever the weights."""
        size = self.store().schema(self.night.interest_dim).num_nodes
        user_U, start = np.arange(size["user"]), np.datetime64(as_of, "us").astype(np.int64)
        asked = user_U, np.full_like(user_U, start), size["item"]
        had_UI = self.everyone.items(*asked, most=None)
        days = partial(self.everyone.days, *asked)
        return fit(tower.kind, dict(tower.options), had_UI, self.night.seed, progress, days)

    @cached_property
    def everyone(self) -> Histories:
        """What all users did, read once for all models and windows."""
        return Histories.read(self.night.histories)

    def histories(self, rows: RequestRows) -> Histories:
        """What the users of these requests did."""
        users = np.unique(rows.asked[0])
        if self._known is None or not np.array_equal(self._known[0], users):
            self._known = users, Histories.read(self.night.histories, users)
        return self._known[1]

    def with_histories(self, tower: Tower, rows: RequestRows) -> RequestRows:
        """The rows with what the model reads of their histories."""
        length = history_length(tower.kind, dict(tower.options))
        if not length:
            return rows
        return rows.with_histories(HistoryItems(self.histories(rows), length, self.night.max_events))

    def bare(self, rows: RequestRows) -> NDArray[np.bool_]:
        """Requests [R] without a history: their users did nothing before them."""
        first_R, last_R = self.histories(rows).spans(*rows.asked)
        return first_R == last_R

    def seen(self, rows: RequestRows) -> Seen:
        """Items that are not to be shown for these requests: none where the night keeps seen ones."""
        if not self.night.drop_seen:
            return Seen.nothing(len(rows))
        return Had.of(self.histories(rows)).before(*rows.asked)

    def linked(self, as_of: date, rows: RequestRows) -> Linked:
        """Items that are linked to the queries of these requests as of a window."""
        files = [file for file in self.night.adjacency if file.partition["as_of"] == as_of.isoformat()]
        return Linked.read(files, rows.query_R[: len(rows)])

    @torch.inference_mode()
    def embed(self, tower: Tower, as_of: date, rows: RequestRows) -> Tensor:
        """Request vectors [R, D]."""
        model, features = self.open(tower), self.store(tower).features(as_of)
        rows = self.with_histories(tower, rows)
        parts = np.array_split(np.arange(len(rows)), range(BATCH, len(rows), BATCH))
        return torch.cat([model.embed_requests(rows.batch(part), features) for part in parts])

    @torch.inference_mode()
    def embed_items(self, tower: Tower, as_of: date) -> Tensor:
        """Item vectors [I, D], row i for item i, zeros where there is none. LakeError when an item has no row in
        ``rois``."""
        paths = [file.path for file in self.night.items if file.partition["as_of"] == as_of.isoformat()]
        batch = read_items(paths, self.night.layouts.item.size)
        known = self.store(tower).known("item")
        if not np.array_equal(batch.item_I.numpy(), np.flatnonzero(known)):
            raise LakeError(
                f"rois: {len(batch.item_I)} item rows as of {as_of}, {known.sum()} items: run build_rois again"
            )
        model, features = self.open(tower), self.store(tower).features(as_of)
        vectors_ID = torch.cat([model.embed_items(part, features) for part in split(batch, BATCH)])
        return torch.from_numpy(scatter(batch.item_I.numpy(), vectors_ID.numpy(), len(known)))


def write_index(night: Night, progress: Callable[[str], None]) -> None:
    """For every model and window of the night: embed all items, or fit the model to the user-item matrix; and lay
    what comes of it where workers find it."""
    worker = Worker(night)
    for as_of in sorted({shard.as_of for shard in night.shards}):
        for tower in night.towers:
            path = index_path(night, tower, as_of)
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_matrix_kind(tower.kind):
                shutil.rmtree(path, ignore_errors=True)
                worker.fit(tower, as_of, progress).save(path)
            else:
                np.save(f"{path}.npy", worker.embed_items(tower, as_of).numpy())
            progress(f"{tower.name} is laid out as of {as_of}")


def _load(model: TwinTower, weights: Path) -> None:
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:200]
        raise LakeError(f"{weights}: does not fit the night's config, run train_models again ({first})") from error


def select(rows: RequestRows, chosen_B: NDArray[np.int64]) -> RequestRows:
    """These rows only, the padding row kept behind them."""
    places = np.append(chosen_B, len(rows))
    cut = {column.name: getattr(rows, column.name)[places] for column in fields(rows) if column.name != "entry_H"}
    return RequestRows(**cut, entry_H=rows.entry_H)


def _longest(path: str) -> int:
    lists = pq.read_table(path, columns=["positives"], partitioning=None)["positives"]
    return pc.max(pc.list_value_length(lists)).as_py() or 0
