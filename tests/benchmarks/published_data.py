"""Retrieval splits with published numbers, as they were published: one line a user, ``user item item ...``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from roilake.hashing import uniform
from roilake.ingest.files import resolve_path
from roilake.pipelines.retrieval.models import interactions

HELD_OUT = 0.2


@dataclass(frozen=True)
class Split:
    """0/1 matrices [U, I] float32. No pair is in both."""

    train_UI: sp.csr_matrix
    test_UI: sp.csr_matrix


def read_split(name: str) -> Split:
    """``train.txt`` and ``test.txt`` of this folder below ``$ROILAKE_DATA``. SourceError when it is not there."""
    pairs = [_pairs(resolve_path(f"shared://{name}/{part}.txt")) for part in ("train", "test")]
    users, items = (max(int(part[side].max()) for part in pairs) + 1 for side in (0, 1))
    split = Split(*(interactions(user, item, users, items) for user, item in pairs))
    if split.train_UI.multiply(split.test_UI).nnz:
        raise AssertionError(f"{name}: pairs of the test are in train")
    return split


def held_out(split: Split, users: int) -> Split:
    """A split of the train pairs alone, on which options are chosen: a fifth of them, by keyed hash, is its test, for
    about ``users`` users by keyed hash."""
    user_E = np.repeat(np.arange(split.train_UI.shape[0]), np.diff(split.train_UI.indptr))
    item_E = split.train_UI.indices
    hidden_E = uniform(1, user_E, item_E) < HELD_OUT
    judged_E = hidden_E & (uniform(2, user_E) < users / split.train_UI.shape[0])
    return Split(*(interactions(user_E[e], item_E[e], *split.train_UI.shape) for e in (~hidden_E, judged_E)))


def _pairs(path: str) -> tuple[np.ndarray, np.ndarray]:
    with open(path) as file:
        rows = [np.array(line.split(), np.int64) for line in file if line.strip()]
    return np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows]), np.concatenate([r[1:] for r in rows])
