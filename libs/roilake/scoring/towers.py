"""A night's models opened for inference: ROIs in, request and item vectors out.

All that a worker needs is plain data in ``Night``, so an executor opens the pinned files itself. Requests are
embedded where they are used, shard by shard, in batches that depend on the data alone; items once, on the
driver. Legend: R requests, I items, D dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from roilake.errors import LakeError
from roilake.feed import FeatureStore, RequestRows, Vocabulary, read_items, read_requests
from roilake.lake import DataFile
from roilake.models import TwinTower, build
from roilake.models.batch import ItemBatch, RequestBatch
from roilake.roi.layout import RoiLayout

BATCH = 512


@dataclass(frozen=True)
class Tower:
    """One trained model: ``folder`` holds its vocabulary and weights, where it has any."""

    name: str
    kind: str
    options: Mapping[str, Any]
    folder: str


@dataclass(frozen=True)
class Shard:
    """One task: the requests of one window and shard."""

    split: str
    as_of: date
    paths: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Night:
    """The pinned files of a night. ``index`` is the folder of the item vectors, shared with the executors."""

    towers: tuple[Tower, ...]
    shards: tuple[Shard, ...]
    nodes: tuple[DataFile, ...]
    vectors: tuple[DataFile, ...]
    items: tuple[DataFile, ...]
    edges: tuple[DataFile, ...]
    request_layout: RoiLayout
    item_layout: RoiLayout
    interest_dim: int
    index: str


@dataclass
class Worker:
    """Opens a night's features and models in one process."""

    night: Night
    _stores: dict[str, FeatureStore] = field(default_factory=dict)

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
        model = build(
            tower.kind, dict(tower.options), schema, self.night.request_layout, self.night.item_layout
        )
        weights = Path(tower.folder) / "weights.safetensors"
        if model.trainable and not weights.exists():
            raise LakeError(f"{weights}: missing; run train_models for this night again")
        if weights.exists():
            _load(model, weights)
        return model.eval()

    def requests(self, shard: Shard, *, positives: bool) -> RequestRows:
        """The shard's rows, by request id; with all their positives, or with the first only."""
        width = max(map(_longest, shard.paths), default=0) if positives else 1
        return read_requests(shard.paths, self.night.request_layout.size, width)

    @torch.inference_mode()
    def embed(self, tower: Tower, as_of: date, rows: RequestRows) -> Tensor:
        """Request vectors [R, D]."""
        model, features = self.open(tower), self.store(tower).features(as_of)
        return torch.cat([model.embed_requests(batch, features) for batch in _batches(rows)])

    @torch.inference_mode()
    def embed_items(self, tower: Tower, as_of: date) -> Tensor:
        """Item vectors [I, D], row i for item i. LakeError when an item has no row in ``rois``."""
        paths = [file.path for file in self.night.items if file.partition["as_of"] == as_of.isoformat()]
        batch = read_items(paths, self.night.item_layout.size)
        expected = self.store(tower).schema(self.night.interest_dim).num_nodes["item"]
        if not torch.equal(batch.item_I, torch.arange(expected)):
            raise LakeError(
                f"rois: {len(batch.item_I)} item rows as of {as_of}, {expected} items: run build_rois again"
            )
        model, features = self.open(tower), self.store(tower).features(as_of)
        return torch.cat([model.embed_items(part, features) for part in _item_batches(batch)])


def write_index(night: Night) -> None:
    """Embed all items for every model and window of the night, and lay the vectors where workers find
    them."""
    worker = Worker(night)
    for as_of in sorted({shard.as_of for shard in night.shards}):
        for tower in night.towers:
            path = _index_path(night, tower, as_of)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, worker.embed_items(tower, as_of).numpy())


def read_index(night: Night, tower: Tower, as_of: date) -> Tensor:
    """Item vectors [I, D] as ``write_index`` left them."""
    return torch.from_numpy(np.load(_index_path(night, tower, as_of), allow_pickle=False))


def _index_path(night: Night, tower: Tower, as_of: date) -> Path:
    return Path(night.index) / f"{as_of}-{tower.name}.npy"


def _load(model: TwinTower, weights: Path) -> None:
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:200]
        raise LakeError(
            f"{weights}: does not fit the night's config, run train_models again ({first})"
        ) from error


def select(rows: RequestRows, chosen_B: NDArray[np.int64]) -> RequestRows:
    """These rows only, the padding row kept behind them."""
    places = np.append(chosen_B, len(rows))
    return RequestRows(**{column.name: getattr(rows, column.name)[places] for column in fields(rows)})


def _batches(rows: RequestRows) -> Sequence[RequestBatch]:
    starts = range(0, len(rows), BATCH)
    return [rows.batch(np.arange(start, min(start + BATCH, len(rows)))) for start in starts]


def _item_batches(batch: ItemBatch) -> Sequence[ItemBatch]:
    parts = (torch.split(column, BATCH) for column in (batch.item_I, batch.neighbours_IS, batch.relevance_IS))
    return [ItemBatch(*columns) for columns in zip(*parts, strict=True)]


def _longest(path: str) -> int:
    lists = pq.read_table(path, columns=["positives"], partitioning=None)["positives"]
    return pc.max(pc.list_value_length(lists)).as_py() or 0
