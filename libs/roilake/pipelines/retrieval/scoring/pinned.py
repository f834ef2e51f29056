"""What a scoring pass works on, as plain data: pinned files, models, shards, and where items are laid out.

Legend: I items, D dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roilake.errors import LakeError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.roi.layout import Layouts


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
    """The pinned files of a night. ``index`` is the folder of the item vectors, shared with the executors. Items that a
    user had before a request are left out with ``drop_seen``; models see the newest ``max_events`` of a history."""

    towers: tuple[Tower, ...]
    shards: tuple[Shard, ...]
    nodes: tuple[DataFile, ...]
    vectors: tuple[DataFile, ...]
    layouts: Layouts
    interest_dim: int
    histories: tuple[DataFile, ...]
    max_events: int
    items: tuple[DataFile, ...] = ()
    adjacency: tuple[DataFile, ...] = ()
    drop_seen: bool = False
    index: str = ""
    seed: int = 0


def item_vectors(night: Night, tower: Tower, as_of: date) -> Tensor:
    """Item vectors [I, D] from the index that ``write_index`` left. LakeError for a model that has none."""
    path = Path(f"{index_path(night, tower, as_of)}.npy")
    if not path.exists():
        raise LakeError(f"{path}: no item vectors of {tower.name}; set scoring.index: exact or choose another model")
    return torch.from_numpy(np.load(path, allow_pickle=False))


def cells_path(night: Night, tower: Tower, as_of: date) -> str:
    """Where the cells of the item vectors lie, for a night that looks for them so."""
    return f"{index_path(night, tower, as_of)}.faiss"


def index_path(night: Night, tower: Tower, as_of: date) -> Path:
    """Where what was laid out of a model lies."""
    return Path(night.index) / f"{as_of}-{tower.name}"
