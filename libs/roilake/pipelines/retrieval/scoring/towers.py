"""A night's models opened for inference: ROIs in, request and item vectors out.

All that a worker needs is plain data in ``Night``, so an executor opens the pinned files itself. Requests are embedded
where they are used, shard by shard, in batches that depend on the data alone; items once, on the driver, and so are
models of the user-item matrix alone. Legend: R requests, I items, D dimension."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.feed.features import FeatureStore
from roilake.pipelines.retrieval.feed.rows import RequestRows, read_items, read_requests, scatter
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models import Fitted, TwinTower, build, fit, interactions, is_matrix_kind, load_fitted
from roilake.pipelines.retrieval.models.batch import split
from roilake.pipelines.retrieval.roi.layout import Layouts
from roilake.pipelines.retrieval.scoring.topk import FromHistory, Product, Scorer

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
    layouts: Layouts
    interest_dim: int
    items: tuple[DataFile, ...] = ()
    edges: tuple[DataFile, ...] = ()
    index: str = ""
    seed: int = 0


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
        return read_requests(shard.paths, self.night.layouts.request.size, width)

    def scorer(self, tower: Tower, as_of: date, rows: RequestRows) -> Scorer:
        """Scores of all items for these requests, from the index that ``write_index`` left."""
        path = _index_path(self.night, tower, as_of)
        if is_matrix_kind(tower.kind):
            return FromHistory(load_fitted(path), self.history(as_of, rows), self.absent_items())
        return self.product(tower, as_of, rows)

    def product(self, tower: Tower, as_of: date, rows: RequestRows) -> Product:
        """The same of a tower, as vectors. LakeError for a model that has none."""
        vectors_ID = item_vectors(self.night, tower, as_of)
        return Product(self.embed(tower, as_of, rows), vectors_ID, self.absent_items())

    def history(self, as_of: date, rows: RequestRows) -> sp.csr_matrix:
        """What the user of each request had before ``as_of``: 0/1 [R, I] float32."""
        user_R, size = rows.user_R[: len(rows)], self.store().schema(self.night.interest_dim).num_nodes
        asked_Q, row_R = np.unique(user_R, return_inverse=True)
        pairs = user_items(self.night, as_of, asked_Q)
        known_Q = np.searchsorted(asked_Q, pairs["src"].to_numpy())
        return interactions(known_Q, pairs["dst"].to_numpy(), len(asked_Q), size["item"])[row_R]

    def absent_items(self) -> NDArray[np.int64]:
        """Numbers below the largest item's that are no items of the night."""
        return np.flatnonzero(~self.store().known("item"))

    def fit(self, tower: Tower, as_of: date, progress: Callable[[str], None]) -> Fitted:
        """A model of the user-item matrix alone, fitted to who had what before ``as_of``, whatever the weights."""
        size = self.store().schema(self.night.interest_dim).num_nodes
        pairs = user_items(self.night, as_of)
        user_E, item_E = (pairs[name].to_numpy().astype(np.int64) for name in ("src", "dst"))
        seen_UI = interactions(user_E, item_E, size["user"], size["item"])
        return fit(tower.kind, dict(tower.options), seen_UI, self.night.seed, progress)

    @torch.inference_mode()
    def embed(self, tower: Tower, as_of: date, rows: RequestRows) -> Tensor:
        """Request vectors [R, D]."""
        model, features = self.open(tower), self.store(tower).features(as_of)
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
            path = _index_path(night, tower, as_of)
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_matrix_kind(tower.kind):
                shutil.rmtree(path, ignore_errors=True)
                worker.fit(tower, as_of, progress).save(path)
            else:
                np.save(f"{path}.npy", worker.embed_items(tower, as_of).numpy())
            progress(f"{tower.name} is laid out as of {as_of}")


def user_items(night: Night, as_of: date, users: NDArray[np.int32] | None = None) -> pa.Table:
    """Who had an event with what before ``as_of``, with any query: columns src (user) and dst (item)."""
    files = [file.path for file in night.edges if file.partition["as_of"] == as_of.isoformat()]
    wanted = pc.field("edge_type") == "user_item"
    if users is not None:
        wanted &= pc.field("src").isin(np.unique(users))
    parts = [pq.read_table(path, columns=["src", "dst"], filters=wanted, partitioning=None) for path in files]
    return pa.concat_tables(parts) if parts else pa.table({"src": [], "dst": []})


def item_vectors(night: Night, tower: Tower, as_of: date) -> Tensor:
    """Item vectors [I, D] from the index that ``write_index`` left. LakeError for a model that has none."""
    path = Path(f"{_index_path(night, tower, as_of)}.npy")
    if not path.exists():
        raise LakeError(f"{path}: no item vectors of {tower.name}; set scoring.index: exact or choose another model")
    return torch.from_numpy(np.load(path, allow_pickle=False))


def cells_path(night: Night, tower: Tower, as_of: date) -> str:
    """Where the cells of the item vectors lie, for a night that looks for them so."""
    return f"{_index_path(night, tower, as_of)}.faiss"


def _index_path(night: Night, tower: Tower, as_of: date) -> Path:
    return Path(night.index) / f"{as_of}-{tower.name}"


def _load(model: TwinTower, weights: Path) -> None:
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:200]
        raise LakeError(f"{weights}: does not fit the night's config, run train_models again ({first})") from error


def select(rows: RequestRows, chosen_B: NDArray[np.int64]) -> RequestRows:
    """These rows only, the padding row kept behind them."""
    places = np.append(chosen_B, len(rows))
    return RequestRows(**{column.name: getattr(rows, column.name)[places] for column in fields(rows)})


def _longest(path: str) -> int:
    lists = pq.read_table(path, columns=["positives"], partitioning=None)["positives"]
    return pc.max(pc.list_value_length(lists)).as_py() or 0
