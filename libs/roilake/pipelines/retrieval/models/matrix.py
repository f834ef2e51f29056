"""Baselines of the user-item matrix alone: what a model of that family is, and the forms that a fitted one takes.

Legend: B requests, U users, I items, J items of a block, D dimension, E interactions. Users and items are their row
numbers. A model is fitted to who had what, and then asked with what the user of a request had before it (his history),
not with a user. A fitted model is a few arrays: it is saved as ``.npy`` files and a JSON manifest, and read
memory-mapped.
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
from pydantic import Field
from torch import Tensor

from roilake.pipelines.retrieval.models.sparse import Floats
from roilake.training.models import Options

Progress = Callable[[str], None]
MANIFEST = "fitted.json"


def interactions(user_E: NDArray[Any], item_E: NDArray[Any], num_users: int, num_items: int) -> sp.csr_matrix:
    """The 0/1 matrix [U, I] float32 of these pairs; a pair that occurs often is still a 1."""
    ones = np.ones(len(user_E), np.float32)
    seen_UI = sp.csr_matrix((ones, (user_E, item_E)), shape=(num_users, num_items))
    seen_UI.data[:] = 1.0
    return seen_UI


class Fitted(ABC):
    """A fitted model: for any history a score of every item. It knows no user: who is new is served as well."""

    @property
    @abstractmethod
    def num_items(self) -> int:
        """Number of items."""

    @abstractmethod
    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        """Scores [B, stop - start] float32 of the items start..stop-1 for requests whose users had these items before:
        [B, I] float32, 1 each or less for what is to count less."""

    def save(self, folder: Path) -> None:
        """Write the arrays and a manifest into this new folder."""
        folder.mkdir(parents=True)
        shapes = {f.name: _write(folder, f.name, getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        (folder / MANIFEST).write_text(json.dumps({"form": type(self).__name__, "fields": shapes}))


@dataclass(frozen=True)
class Constant(Fitted):
    """The same scores [I] float32 whatever the history."""

    score_I: Floats

    @property
    def num_items(self) -> int:
        return len(self.score_I)

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        return torch.from_numpy(self.score_I[start:stop]).repeat(history_BI.shape[0], 1)


@dataclass(frozen=True)
class Factors(Fitted):
    """score(h, j) = sum over the history's items i of h_i <had_i, item_j>. Shapes [I, D], [I, D] float32."""

    had_ID: Floats
    item_ID: Floats

    @property
    def num_items(self) -> int:
        return len(self.item_ID)

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        return _dense(history_BI @ self.had_ID) @ torch.from_numpy(self.item_ID[start:stop]).T


@dataclass(frozen=True)
class ItemMap(Fitted):
    """score(h, .) = h map. Shape [I, I]; the map is sparse, or dense in C order."""

    map_II: sp.csr_matrix | Floats

    @property
    def num_items(self) -> int:
        return self.map_II.shape[0]

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        return _dense(history_BI @ _columns(self.map_II, start, stop))


@dataclass(frozen=True)
class Walk(Fitted):
    """score(h, .) = h steps steps^T: from the history's items to all users who had them, and on to their items. Shape
    [I, U], sparse. The map steps steps^T [I, I], which can be far from sparse, is never made: a call takes
    4 (U + J) bytes a request."""

    steps_IU: sp.csr_matrix

    @property
    def num_items(self) -> int:
        return self.steps_IU.shape[0]

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        met_UB = _dense((history_BI @ self.steps_IU).T)
        return (torch_csr(self.steps_IU[start:stop]) @ met_UB).T.contiguous()


@dataclass(frozen=True)
class Sum(Fitted):
    """score(h, i) = sum of the parts' scores."""

    parts: tuple[Fitted, ...]

    @property
    def num_items(self) -> int:
        return self.parts[0].num_items

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        total_BJ = self.parts[0].scores(history_BI, start, stop)
        for part in self.parts[1:]:
            total_BJ += part.scores(history_BI, start, stop)
        return total_BJ


@dataclass(frozen=True)
class OrPopular(Fitted):
    """The scores of the first part; those of the second, a ``Constant`` of popularity, for a history without any item
    that has a score above 0 there: of it the first part knows nothing."""

    parts: tuple[Fitted, Constant]

    @property
    def num_items(self) -> int:
        return self.parts[0].num_items

    def scores(self, history_BI: sp.csr_matrix, start: int, stop: int) -> Tensor:
        model, popular = self.parts
        unknown_B = torch.from_numpy(history_BI @ popular.score_I <= 0)
        scores_BJ = model.scores(history_BI, start, stop)
        scores_BJ[unknown_B] = torch.from_numpy(popular.score_I[start:stop])
        return scores_BJ


class MatrixOptions(Options):
    """How a history is read. An item of it counts half as much for each ``half_life_items`` newer ones; with null
    all count alike. ``itself`` times the history is added to the scores, in the model's own units (of a
    cosine, 1 is the item's likeness to itself): for data where people come back to what they had."""

    half_life_items: float | None = Field(10.0, gt=0)
    itself: float = Field(0.0, ge=0)


class MatrixModel(ABC):
    """A model that is fitted once to the matrix of who had what, and knows nothing else (no query, no feature)."""

    def __init__(self, options: MatrixOptions) -> None:
        self.options: Any = options

    def weigh(self, seen_UI: sp.csr_matrix, days: Callable[[], sp.csr_matrix]) -> sp.csr_matrix:
        """What to fit to, where the days since the last event of each pair can be told: the 0/1 matrix, but for a model
        that forgets."""
        return seen_UI

    @abstractmethod
    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        """Fit to a 0/1 matrix that holds at least one 1. The same matrix, options and seed give the same model."""


def load_fitted(folder: Path) -> Fitted:
    """What ``save`` wrote; arrays are memory-mapped."""
    manifest = json.loads((folder / MANIFEST).read_text())
    form = {c.__name__: c for c in (Constant, Factors, ItemMap, Walk, Sum, OrPopular)}[manifest["form"]]
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
