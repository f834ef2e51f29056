"""Batches of both pipelines drawn by numpy, for training without a lake: nodes of Zipf's popularity with latent
vectors, requests whose positives and impressions whose outcomes follow from these.

Legend: N nodes of one type, R rows, V latent coordinates, S slots of a ROI, F fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from roilake.lake import DataFile
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import Field, ImpressionSchema
from roilake.pipelines.retrieval.config import NODE_TYPES, RoiConfig, TrainingConfig
from roilake.pipelines.retrieval.feed.features import FeatureStore
from roilake.pipelines.retrieval.feed.requests import RequestFeed
from roilake.pipelines.retrieval.feed.rows import RequestRows
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, TypeFeatures
from roilake.pipelines.retrieval.roi.layout import Layouts, RoiLayout
from roilake.pipelines.retrieval.training import Inputs, TrainingData
from roilake.training import Context

DIM, SHARDS, SEED, TERMS = 32, 2, 7, 500
WINDOWS = (date(2020, 1, 6), date(2020, 1, 13), date(2020, 1, 20))  # the last one validates
CATEGORIES = {"user": {"age": 8, "occupation": 20}, "query": {}, "item": {"genre": 19}}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """How much there is: nodes, requests of a train window (the validation window has one batch), impressions; and how
    much of it in a step."""

    users: int
    queries: int
    items: int
    requests: int
    batch: int
    candidates: int
    fanout: int
    impressions: int
    clicks: int
    others: int

    @property
    def nodes(self) -> dict[str, int]:
        return {"user": self.users, "query": self.queries, "item": self.items}


SIZES = {
    "small": Size(943, 19, 1682, 10_240, 512, 1024, 5, 60_000, 256, 1024),  # MovieLens-100K's, a night's own steps
    "large": Size(200_000, 1_000, 100_000, 24_576, 4096, 8192, 10, 400_000, 4096, 16_384),
}


@dataclass(frozen=True)
class Nodes:
    """Nodes of one type: how often they occur, and what they are like."""

    events_N: NDArray[np.int64]
    latent_NV: Floats

    @classmethod
    def draw(cls, random: np.random.Generator, count: int) -> Nodes:
        events_N = random.zipf(1.3, count).clip(max=10_000)
        return cls(events_N.astype(np.int64), random.standard_normal((count, DIM), np.float32))

    def pick(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Nodes by their popularity."""
        return random.choice(len(self.events_N), shape, p=self.events_N / self.events_N.sum())


@cache
def _nodes(size: Size) -> dict[str, Nodes]:
    random = np.random.default_rng(SEED)
    return {name: Nodes.draw(random, count) for name, count in size.nodes.items()}


class HeldStore(FeatureStore):
    """Features that were drawn, the same in every window."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self._sizes, self._nodes = size.nodes, _nodes(size)
        random = np.random.default_rng(SEED + 1)
        self._held = {name: self._drawn(random, name, device) for name in NODE_TYPES}

    def _drawn(self, random: np.random.Generator, name: str, device: torch.device) -> TypeFeatures:
        nodes = self._nodes[name]
        count = len(nodes.events_N)
        noisy_NV = nodes.latent_NV + random.standard_normal(nodes.latent_NV.shape, np.float32)
        fields = [random.integers(0, values + 1, count) for values in CATEGORIES[name].values()]
        columns = (
            noisy_NV / np.linalg.norm(noisy_NV, axis=1, keepdims=True),
            nodes.events_N,
            np.frexp(1.0 + nodes.events_N)[1].astype(np.int64) - 1,
            random.integers(0, TERMS, (count, 6 if name == "item" else 0)),
            np.stack(fields, axis=1) if fields else np.empty((count, 0), np.int64),
        )
        return TypeFeatures(*(torch.from_numpy(column).to(device) for column in columns))

    def features(self, as_of: date) -> NodeFeatures:
        return self._held

    def known(self, node_type: str) -> NDArray[np.bool_]:
        return np.ones(self._sizes[node_type], bool)

    def degrees(self, node_type: str, as_of: date) -> NDArray[np.int64]:
        return self._nodes[node_type].events_N

    def schema(self, interest_dim: int) -> FeatureSchema:
        return FeatureSchema(self._sizes, TERMS, CATEGORIES, interest_dim)


class HeldFeed(RequestFeed):
    """Request rows that were drawn, in place of those of the files."""

    rows_of: Mapping[tuple[date, int], RequestRows]

    def _load(self, as_of: date) -> dict[int, RequestRows]:
        return {shard: self.rows_of[as_of, shard] for shard in self._own}


class HeldInputs(Inputs):
    """A rank's inputs of a retrieval model, drawn and not read."""

    def __init__(self, size: Size, hops: int, context: Context) -> None:
        self.size, self.context = size, context
        self.training = TrainingConfig(batch_size=size.batch, candidates=size.candidates)
        self.data = _training_data(size, hops)
        self.store = HeldStore(size, context.device)
        self.train, self.validation = self._feed(self.data.train), self._feed(self.data.validation)
        items = _item_rows(size, self.data.layouts.item)
        self.items = lru_cache(1)(lambda as_of: items)
        self._sampler = lru_cache(1)(self._make_sampler)

    def _feed(self, windows: tuple[date, ...]) -> RequestFeed:
        days, training = {str(as_of) for as_of in windows}, self.training
        feed = HeldFeed(
            [file for file in self.data.requests if file.partition["as_of"] in days],
            layout=self.data.layouts.request,
            shards=SHARDS,
            batch_size=training.batch_size,
            positives=training.positives,
            rank=self.context.rank,
            workers=self.context.workers,
            seed=SEED,
        )
        feed.rows_of = _request_rows(self.size, self.data.layouts.request)
        return feed


def _training_data(size: Size, hops: int) -> TrainingData:
    first = {"request": ("user_query", "user_item", "query_item", "query_user"), "item": ("item_user", "item_query")}
    second = {"request": (*first["request"], *first["item"]), "item": ("user_item", "query_item")}
    trees = {
        f"{side}_hops": [dict.fromkeys(first[side], size.fanout), dict.fromkeys(second[side], 2)][:hops]
        for side in first
    }
    layouts = Layouts.of(RoiConfig.model_validate(trees))
    rows = {key: len(found) for key, found in _request_rows(size, layouts.request).items()}
    files = [DataFile("", {"as_of": str(as_of), "shard": str(shard)}, n, 0) for (as_of, shard), n in rows.items()]
    vocabulary = Vocabulary((), {})
    return TrainingData(
        tuple(files), (), (), (), WINDOWS[:-1], WINDOWS[-1:], vocabulary, layouts, SHARDS, DIM, SEED
    )  # fmt: skip


@cache
def _request_rows(size: Size, layout: RoiLayout) -> dict[tuple[date, int], RequestRows]:
    """By window and shard. Of 16 popular items, a request's positives are the up to four nearest to its user and
    query."""
    random, nodes, found = np.random.default_rng(SEED + 2), _nodes(size), {}
    first = 0
    for as_of in WINDOWS:
        rows = (size.batch if as_of == WINDOWS[-1] else size.requests) // SHARDS
        for shard in range(SHARDS):
            user_R, query_R = nodes["user"].pick(random, (rows,)), nodes["query"].pick(random, (rows,))
            query_R[random.random(rows) < 0.1] = -1
            wish_RV = nodes["user"].latent_NV[user_R] + nodes["query"].latent_NV[query_R] * (query_R >= 0)[:, None]
            met_RC = nodes["item"].pick(random, (rows, 16))
            score_RC = np.einsum("rv,rcv->rc", wish_RV, nodes["item"].latent_NV[met_RC])
            best_RP = np.take_along_axis(met_RC, np.argsort(-score_RC, axis=1)[:, :4], axis=1)
            best_RP[np.arange(4) >= random.integers(1, 5, rows)[:, None]] = -1
            neighbours_RS, relevance_RS = _regions(random, nodes, layout, rows)
            found[as_of, shard] = RequestRows(
                root_R=np.append(np.arange(first, first + rows), -1),
                user_R=_padded(user_R, 0),
                query_R=_padded(query_R),
                neighbours_RS=neighbours_RS,
                relevance_RS=relevance_RS,
                linked_RH=_padded(random.integers(0, 2, (rows, layout.places)), 0).astype(np.int8),
                ages_RH=_padded(random.integers(-128, 128, (rows, layout.places)), 127).astype(np.int8),
                time_R=np.zeros(rows + 1, np.int64),
                history_RL=np.empty((rows + 1, 0), np.int32),
                positives_RP=_padded(best_RP),
                entry_H=layout.entry_H,
            )
            first += rows
    return found


@cache
def _item_rows(size: Size, layout: RoiLayout) -> ItemBatch:
    neighbours_RS, relevance_RS = _regions(np.random.default_rng(SEED + 3), _nodes(size), layout, size.items)
    columns = np.arange(size.items), neighbours_RS[:-1].astype(np.int64), relevance_RS[:-1].astype(np.float32) / 127
    return ItemBatch(*(torch.from_numpy(column) for column in columns))


def _regions(
    random: np.random.Generator, nodes: Mapping[str, Nodes], layout: RoiLayout, rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Neighbours, a tenth of them missing, and their relevance; the padding row behind them."""
    neighbours_RS = np.concatenate([nodes[s.dst_type].pick(random, (rows, s.size)) for s in layout.slots], axis=1)
    neighbours_RS[random.random(neighbours_RS.shape) < 0.1] = -1
    relevance_RS = random.integers(-42, 128, neighbours_RS.shape)
    return _padded(neighbours_RS), _padded(relevance_RS).astype(np.int8)


def _padded(column: NDArray[np.int64], pad: int = -1) -> NDArray[np.int32]:
    return np.concatenate([column, np.full((1, *column.shape[1:]), pad)]).astype(np.int32)


@cache
def impressions(size: Size) -> tuple[ImpressionRows, ImpressionRows, ImpressionSchema]:
    """Rows to learn from, a fifth as many to validate on, and their schema: five fields, graph vectors of two. Half of
    the clicks' propensities are logged, and every unclicked row has a pseudo-label."""
    random, nodes, rows = np.random.default_rng(SEED + 4), _nodes(size), size.impressions * 6 // 5
    user_R, item_R = nodes["user"].pick(random, (rows,)), nodes["item"].pick(random, (rows,))
    affinity_R = (nodes["user"].latent_NV[user_R] * nodes["item"].latent_NV[item_R]).sum(axis=1) / np.sqrt(DIM)
    click_chance_R, conversion_chance_R = (1 / (1 + np.exp(bias - affinity_R)) for bias in (1.5, 0.5))
    click_R = random.random(rows) < click_chance_R
    columns = user_R, user_R % 8, item_R, item_R % 19, random.integers(-1, 24, rows)
    fields = (
        Field("user", "user", size.users),
        Field("age", "user", 8),
        Field("item", "item", size.items),
        Field("genre", "item", 19),
        Field("hour", "context", 24),
    )
    whole = ImpressionRows.of(
        np.stack(columns, axis=1),
        click_R,
        random.random(rows) < conversion_chance_R,
        propensity=np.where(random.random(rows) < 0.5, click_chance_R, np.nan),
        pseudo=np.where(click_R, np.nan, conversion_chance_R),
    )
    vectors = {name: torch.from_numpy(nodes[name].latent_NV) for name in ("user", "item")}
    schema = ImpressionSchema(fields, float(click_R.mean()), vectors)
    return whole.at(slice(0, size.impressions)), whole.at(slice(size.impressions, None)), schema
