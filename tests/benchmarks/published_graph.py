"""Users and items of a static split as the suite's graph: no query, no time.

A model that learns to rank the items of its own ROI learns nothing. So the training pairs are cut into folds by keyed
hash; the requests of a fold are asked of the graph, the interest vectors and the ROIs of all other folds, as a night's
requests are asked of the graph of their window's start. The test is asked of the graph of all training pairs. Fold 0 is
never learnt from: it picks the epoch.

Legend: U users, I items, N nodes (users, then items), B requests, P positives, C candidates, S slots, R roots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.hashing import keyed_hash, uniform
from roilake.pipelines.retrieval.config import EdgeType
from roilake.pipelines.retrieval.graph.interests import unit_rows
from roilake.pipelines.retrieval.models import FeatureSchema, ItemBatch, RequestBatch, TwinTower, TypeFeatures
from roilake.pipelines.retrieval.models.matrix import interactions
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.pipelines.retrieval.roi.store import RoiStore, padded
from roilake.pipelines.retrieval.scoring.topk import Product
from tests.retrieval.graph.in_memory import adjacency_matrix, normalised, spectral_vectors

MAX_NEIGHBOURS = 50
BLOCK = 2048


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. ``sampler`` is that of the ROIs; fan-outs are those of hop 1 and 2."""

    kind: str
    sampler: str = "roi"
    options: Mapping[str, Any] = field(default_factory=dict)
    fanouts: tuple[int, ...] = (10, 5)
    dim: int = 64
    degree_exponent: float = 0.5
    averaging: float = 0.95
    learning_rate: float = 2e-3
    batch_size: int = 256
    candidates: int = 4096
    folds: int = 8
    epochs: int = 6
    seed: int = 0

    def layouts(self) -> tuple[RoiLayout, RoiLayout]:
        """Trees that alternate between items and users, from either side."""
        ways: tuple[EdgeType, EdgeType] = ("user_item", "item_user")
        request, item = (
            tuple({ways[(hop + side) % 2]: fanout} for hop, fanout in enumerate(self.fanouts)) for side in (0, 1)
        )
        return RoiLayout.of(request, REQUEST_ROOTS), RoiLayout.of(item, ITEM_ROOTS)


@dataclass(frozen=True)
class Vectors:
    """Of all users [U, D] and items [I, D], as a model gives them."""

    user_UD: Tensor
    item_ID: Tensor

    def asked(self, user_B: NDArray) -> Product:
        """The scores of all items for these users."""
        return Product(self.user_UD[torch.from_numpy(user_B)], self.item_ID)


class Graph:
    """Vectors, features and ROIs of all users and items, from a matrix of pairs [U, I]."""

    def __init__(self, seen_UI: sp.csr_matrix, recipe: Recipe, onto_ND: NDArray | None) -> None:
        users, items = seen_UI.shape
        pairs = seen_UI.tocoo()
        adjacency = adjacency_matrix(users + items, pairs.row, users + pairs.col, pairs.data)
        scaled = normalised(adjacency, recipe.degree_exponent)
        self.raw_ND = spectral_vectors(scaled, recipe.dim, recipe.seed, onto_ND)
        units_ND, _ = unit_rows(self.raw_ND)
        vectors: dict[str, NDArray] = {
            "user": units_ND[:users],
            "query": np.zeros((1, recipe.dim)),
            "item": units_ND[users:],
        }
        degrees: dict[str, NDArray] = {"user": seen_UI.sum(1), "query": np.zeros(1), "item": seen_UI.sum(0)}
        self.features = {kind: _features(vectors[kind], np.asarray(degrees[kind]).ravel()) for kind in vectors}
        store = _store(seen_UI, vectors, recipe.seed)
        request_layout, item_layout = recipe.layouts()
        askers_UR = np.stack([np.arange(users), np.full(users, -1)], axis=1).astype(np.int32)
        items_IR = np.arange(items, dtype=np.int32)[:, None]
        self._requests = store.sample(request_layout, askers_UR, recipe.sampler, recipe.seed)
        self._items = store.sample(item_layout, items_IR, recipe.sampler, recipe.seed)

    @property
    def schema(self) -> FeatureSchema:
        sizes = {kind: len(features.events_N) for kind, features in self.features.items()}
        return FeatureSchema(sizes, 1, {kind: {} for kind in sizes}, self.raw_ND.shape[1])

    def requests(self, user_B: NDArray, positives_BP: NDArray) -> RequestBatch:
        neighbours_BS, relevance_BS = (torch.from_numpy(part[user_B]) for part in self._requests)
        none_B, weight_B = torch.full((len(user_B),), -1), torch.ones(len(user_B))
        user, positives = torch.from_numpy(user_B), torch.from_numpy(positives_BP)
        no_signal_BS = torch.zeros(neighbours_BS.shape)
        return RequestBatch(
            user_B=user,
            query_B=none_B,
            neighbours_BS=neighbours_BS.long(),
            relevance_BS=relevance_BS.float() / 127,
            linked_BS=no_signal_BS,
            recency_BS=no_signal_BS,
            time_B=torch.zeros_like(user),
            history_BL=torch.empty((len(user), 0), dtype=torch.long),
            positives_BP=positives,
            weight_B=weight_B,
        )

    def items(self, item_C: NDArray) -> ItemBatch:
        neighbours_CS, relevance_CS = (torch.from_numpy(part[item_C]) for part in self._items)
        return ItemBatch(torch.from_numpy(item_C), neighbours_CS.long(), relevance_CS.float() / 127)

    @torch.inference_mode()
    def vectors(self, model: TwinTower) -> Vectors:
        """Vectors of all users and items."""
        nothing = np.zeros((BLOCK, 1), np.int64)
        user_UD = [
            model.embed_requests(self.requests(user, nothing[: len(user)]), self.features)
            for user in _blocks(len(self._requests[0]))
        ]
        item_ID = [model.embed_items(self.items(item), self.features) for item in _blocks(len(self._items[0]))]
        return Vectors(torch.cat(user_UD), torch.cat(item_ID))


class Folds:
    """``asked[f]`` [U, I] are the pairs of fold f, ``known[f]`` all others and ``graphs[f]`` their graph; ``whole`` is
    the graph of all pairs."""

    def __init__(self, seen_UI: sp.csr_matrix, recipe: Recipe) -> None:
        pairs = seen_UI.tocoo()
        fold_E = (uniform(recipe.seed, pairs.row, pairs.col) * recipe.folds).astype(np.int64)

        def chosen(mask_E: NDArray[np.bool_]) -> sp.csr_matrix:
            return interactions(pairs.row[mask_E], pairs.col[mask_E], *seen_UI.shape)

        self.seen_UI, self.whole = seen_UI, Graph(seen_UI, recipe, None)
        self.asked = [chosen(fold_E == fold) for fold in range(recipe.folds)]
        self.known = [chosen(fold_E != fold) for fold in range(recipe.folds)]
        self.graphs = [Graph(known, recipe, self.whole.raw_ND) for known in self.known]

    def steps(self, epoch: int, recipe: Recipe) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(fold, users) of each step of an epoch, fold by fold, in an order drawn by keyed hash."""
        learnt = np.arange(1, recipe.folds)
        for fold in learnt[np.argsort(keyed_hash(recipe.seed, epoch, learnt))]:
            users = np.flatnonzero(np.diff(self.asked[fold].indptr))
            users = users[np.argsort(keyed_hash(recipe.seed, epoch, fold, users))]
            for start in range(0, len(users), recipe.batch_size):
                yield int(fold), users[start : start + recipe.batch_size]


def _store(seen_UI: sp.csr_matrix, vectors: Mapping[str, NDArray], seed: int) -> RoiStore:
    """Lists of at most 50: all pairs weigh the same, so a longer one is cut by keyed hash."""
    offsets, ids = {}, {}
    for edge_type, lists in (("user_item", seen_UI), ("item_user", seen_UI.T.tocsr())):
        row = np.repeat(np.arange(lists.shape[0]), np.diff(lists.indptr))
        order = np.lexsort((keyed_hash(seed, row, lists.indices), row))
        kept = np.arange(len(row)) - lists.indptr[row] < MAX_NEIGHBOURS
        ids[edge_type] = lists.indices[order][kept].astype(np.int32)
        offsets[edge_type] = np.r_[0, np.cumsum(np.bincount(row[kept], minlength=lists.shape[0]))]
    scale = max(float(np.abs(part).max()) for part in vectors.values())
    width = padded(next(iter(vectors.values())).shape[1])
    quantised = {kind: np.zeros((len(part), width), np.int8) for kind, part in vectors.items()}
    for kind, part in vectors.items():
        quantised[kind][:, : part.shape[1]] = np.rint(part * (127 / scale))
    return RoiStore(offsets, ids, quantised)


def _features(vectors_ND: NDArray, degree_N: NDArray) -> TypeFeatures:
    nothing_N0 = torch.zeros(len(degree_N), 0, dtype=torch.int64)
    events_N = torch.from_numpy(degree_N.astype(np.int64))
    bucket_N = torch.from_numpy(np.frexp(1.0 + degree_N)[1].astype(np.int64) - 1)
    return TypeFeatures(torch.from_numpy(vectors_ND).float(), events_N, bucket_N, nothing_N0, nothing_N0)


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, BLOCK):
        yield np.arange(start, min(start + BLOCK, count))
