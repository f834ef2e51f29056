"""Categories as rows of embedding tables of bounded size, and the survey of the train split that decides on them.

Legend of shape suffixes: R rows, F categorical fields, V coordinates of a vector, K categories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from roilake.errors import ConfigError
from roilake.pipelines.conversion.config import Side
from roilake.pipelines.conversion.models import Field

Hashes = NDArray[np.int32]


@dataclass(frozen=True)
class CategoryIndex:
    """Which row of its field's table a category (a node id or 31-bit hash, -1 missing) has.

    A field of at most ``rows`` categories in the train split has a row for each, in ascending order (``known``); others
    have none (-1). In a larger field (``known`` is None) a category has row number mod ``rows``, which it shares."""

    names: tuple[str, ...]
    sides: tuple[Side, ...]
    known: tuple[Hashes | None, ...]
    rows: int

    @property
    def fields(self) -> tuple[Field, ...]:
        """What a model is built with."""
        sizes = [self.rows if known is None else max(len(known), 1) for known in self.known]
        return tuple(Field(*field) for field in zip(self.names, self.sides, sizes, strict=True))

    def rows_of(self, categories_RF: Hashes) -> NDArray[np.int32]:
        """[R, F] rows, -1 for a missing category or one that the train split did not hold."""
        rows_RF = np.full(categories_RF.shape, -1, np.int32)
        for position, known in enumerate(self.known):
            rows_RF[:, position] = self._rows_of_field(known, categories_RF[:, position])
        return rows_RF

    def vectors(self, field: str, categories_K: Hashes, vectors_KV: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors of categories as [rows of the field, V]; zeros where there is none. Raises ConfigError for a field
        whose categories share rows."""
        known = self.known[self.names.index(field)]
        if known is None:
            raise ConfigError(
                f"training.graph: {field} has more than {self.rows} values, which share embedding rows, so that a row "
                "has no vector of its own: raise training.embeddings.rows"
            )
        rows_K = self._rows_of_field(known, categories_K)
        found_RV = np.zeros((max(len(known), 1), vectors_KV.shape[1]), np.float32)
        found_RV[rows_K[rows_K >= 0]] = vectors_KV[rows_K >= 0]
        return found_RV

    def _rows_of_field(self, known: Hashes | None, categories_R: Hashes) -> NDArray[np.int32]:
        if known is None:
            return np.where(categories_R < 0, -1, categories_R % self.rows).astype(np.int32)
        index_R = np.searchsorted(known, categories_R)
        found_R = (categories_R >= 0) & (np.append(known, -1)[index_R] == categories_R)
        return np.where(found_R, index_R, -1).astype(np.int32)

    def save(self, path: Path) -> None:
        """As safetensors: the ascending categories of each field that has a row for each."""
        described = {"names": self.names, "sides": self.sides, "rows": self.rows}
        tensors = {f"field.{position}": known for position, known in enumerate(self.known) if known is not None}
        save_file(tensors, path, metadata={"index": json.dumps(described)})

    @classmethod
    def load(cls, path: Path) -> CategoryIndex:
        """What ``save`` has written."""
        with safe_open(path, "numpy") as file:
            described = json.loads(file.metadata()["index"])
            held = set(file.keys())
            fields = [f"field.{position}" for position in range(len(described["names"]))]
            known = tuple(file.get_tensor(field) if field in held else None for field in fields)
        return cls(tuple(described["names"]), tuple(described["sides"]), known, described["rows"])


class VocabularyStatistics:
    """What the train split holds, gathered block by block: each field's categories (None once there are more than
    ``limit``) and the sums of inverse sampling rates, of all rows and of the clicked ones."""

    def __init__(self, fields: int, limit: int) -> None:
        self.known: list[Hashes | None] = [np.empty(0, np.int32) for _ in range(fields)]
        self.total, self.clicked, self._limit = 0.0, 0.0, limit

    def add(self, categories_RF: Hashes, inverse_rate_R: NDArray[np.float32], click_R: NDArray) -> None:
        """Take in a block of rows."""
        self.total += float(inverse_rate_R.sum(dtype=np.float64))
        self.clicked += float(inverse_rate_R[click_R > 0].sum(dtype=np.float64))
        for position in range(categories_RF.shape[1]):
            self.merge(position, categories_RF[:, position])

    def merge(self, position: int, categories: Hashes | None) -> None:
        """Take in categories of one field (None: more than the limit)."""
        known = self.known[position]
        if known is None or categories is None:
            self.known[position] = None
            return
        found = np.union1d(known, categories[categories >= 0]).astype(np.int32)
        self.known[position] = found if len(found) <= self._limit else None

    def index(self, names: Sequence[str], sides: Sequence[Side]) -> CategoryIndex:
        """The index of what has been taken in, for fields of these names and sides."""
        return CategoryIndex(tuple(names), tuple(sides), tuple(self.known), self._limit)
