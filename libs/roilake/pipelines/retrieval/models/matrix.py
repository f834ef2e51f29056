"""Baselines of the user-item matrix alone: what a model of that family is, and the forms that a fitted one takes.

Legend: B asked users, U users, I items, J items of a block, D dimension, E interactions. Users and items are their row
numbers. A fitted model is a few arrays: it is saved as ``.npy`` files and a JSON manifest, and read memory-mapped.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from roilake.pipelines.retrieval.models.sparse import Floats

Progress = Callable[[str], None]
MANIFEST = "fitted.json"


def interactions(user_E: NDArray[Any], item_E: NDArray[Any], num_users: int, num_items: int) -> sp.csr_matrix:
    """The 0/1 matrix [U, I] float32 of these pairs; a pair that occurs often is still a 1."""
    ones = np.ones(len(user_E), np.float32)
    seen_UI = sp.csr_matrix((ones, (user_E, item_E)), shape=(num_users, num_items))
    seen_UI.data[:] = 1.0
    return seen_UI


class Fitted(ABC):
    """A fitted model: for any user of the matrix, a score of every item. A user without items gets equal scores, or
    what the model knows of all users."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""

    @property
    def num_users(self) -> int:
        return self.shape[0]

    @property
    def num_items(self) -> int:
        return self.shape[1]

    @abstractmethod
    def scores(self, user_B: NDArray[np.int64], start: int, stop: int) -> Tensor:
        """Scores [B, stop - start] float32 of the items start..stop-1 for these users."""

    def save(self, folder: Path) -> None:
        """Write the arrays and a manifest into this new folder."""
        folder.mkdir(parents=True)
        shapes = {f.name: _write(folder, f.name, getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        (folder / MANIFEST).write_text(json.dumps({"form": type(self).__name__, "fields": shapes}))


@dataclass(frozen=True)
class Factors(Fitted):
    """score(u, i) = <user_u, item_i>. Shapes [U, D], [I, D] float32."""

    user_UD: Floats
    item_ID: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.user_UD), len(self.item_ID)

    def scores(self, user_B: NDArray[np.int64], start: int, stop: int) -> Tensor:
        return torch.from_numpy(self.user_UD[user_B]) @ torch.from_numpy(self.item_ID[start:stop]).T


@dataclass(frozen=True)
class ItemMap(Fitted):
    """score(u, .) = seen_u map. Shapes [U, I], [I, I]; the map is sparse or dense."""

    seen_UI: sp.csr_matrix
    map_II: sp.csr_matrix | Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.seen_UI.shape

    def scores(self, user_B: NDArray[np.int64], start: int, stop: int) -> Tensor:
        return _dense(self.seen_UI[user_B] @ _columns(self.map_II, start, stop))


@dataclass(frozen=True)
class Walk(Fitted):
    """score(u, .) = seen_u back forth^T: from a user's items to users and on to their items. Shapes [U, I], [I, U],
    [I, U], all sparse. The map back forth^T [I, I], which can be far from sparse, is never made: a call takes
    4 (U + J) bytes a user."""

    seen_UI: sp.csr_matrix
    back_IU: sp.csr_matrix
    forth_IU: sp.csr_matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.seen_UI.shape

    def scores(self, user_B: NDArray[np.int64], start: int, stop: int) -> Tensor:
        met_UB = _dense((self.seen_UI[user_B] @ self.back_IU).T)
        return (torch_csr(self.forth_IU[start:stop]) @ met_UB).T.contiguous()


@dataclass(frozen=True)
class Sum(Fitted):
    """score(u, i) = sum of the parts' scores."""

    parts: tuple[Fitted, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.parts[0].shape

    def scores(self, user_B: NDArray[np.int64], start: int, stop: int) -> Tensor:
        total_BJ = self.parts[0].scores(user_B, start, stop)
        for part in self.parts[1:]:
            total_BJ += part.scores(user_B, start, stop)
        return total_BJ


class MatrixModel(ABC):
    """A model that is fitted once to the matrix of who had what, and knows nothing else (no query, no feature)."""

    def __init__(self, options: BaseModel) -> None:
        self.options: Any = options

    @abstractmethod
    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        """Fit to a 0/1 matrix that holds at least one 1. The same matrix, options and seed give the same model."""


def load_fitted(folder: Path) -> Fitted:
    """What ``save`` wrote; arrays are memory-mapped."""
    manifest = json.loads((folder / MANIFEST).read_text())
    form = {c.__name__: c for c in (Factors, ItemMap, Walk, Sum)}[manifest["form"]]
    loaded: Fitted = form(**{name: _read(folder, name, how) for name, how in manifest["fields"].items()})
    return loaded


def _write(folder: Path, name: str, value: Any) -> Any:
    """Write one field; what the manifest says of it: number of parts, shape of a sparse matrix, or nothing."""
    if isinstance(value, tuple):
        for number, part in enumerate(value):
            part.save(folder / f"{name}.{number}")
        return len(value)
    if not sp.issparse(value):
        np.save(folder / f"{name}.npy", value)
        return None
    for part in ("data", "indices", "indptr"):
        np.save(folder / f"{name}.{part}.npy", getattr(value, part))
    return list(value.shape)


def _read(folder: Path, name: str, how: Any) -> Any:
    if isinstance(how, int):
        return tuple(load_fitted(folder / f"{name}.{number}") for number in range(how))
    if how is None:
        return np.load(folder / f"{name}.npy", mmap_mode="c")
    parts = (np.load(folder / f"{name}.{part}.npy", mmap_mode="c") for part in ("data", "indices", "indptr"))
    return sp.csr_matrix(tuple(parts), shape=tuple(how))


def _columns(matrix: Any, start: int, stop: int) -> Any:
    return matrix if (start, stop) == (0, matrix.shape[1]) else matrix[:, start:stop]


def _dense(matrix: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix.toarray() if sp.issparse(matrix) else matrix))


def torch_csr(matrix: sp.csr_matrix) -> Tensor:
    """The same matrix for torch, whose product with a dense one is MKL's and uses all cores."""
    first, column, value = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():  # torch calls its CSR tensors beta, and tells that it does not check them
        warnings.filterwarnings("ignore", message="Sparse ")
        return torch.sparse_csr_tensor(first, column, value, size=matrix.shape)
