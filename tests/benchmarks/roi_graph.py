"""A random graph with skewed degrees, its interest vectors and requests, as the tables that ``build_rois`` reads.

Drawn by a counter-based generator keyed by the seed: the same tables on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.lake import TABLES, Lake, Run
from roilake.pipelines.retrieval.config import RetrievalConfig

DS = date(2020, 1, 10)
AS_OF = date(2020, 1, 4)
LONGEST = 50


@dataclass(frozen=True)
class Sizes:
    users: int = 500_000
    queries: int = 350_000
    items: int = 150_000
    requests: int = 400_000
    dim: int = 32

    @property
    def nodes(self) -> int:
        return self.users + self.queries + self.items


def night_config(sizes: Sizes, plan: str) -> RetrievalConfig:
    """Two hops of fan-out 10 x 5 on both sides: 10 items of the user and 5 users of each, and the reverse."""
    return RetrievalConfig.model_validate(
        {
            "pipeline": "retrieval",
            "name": "bench-roi",
            "source": {"events": {"path": "-", "format": "csv", "columns": {"user": "u", "item": "i", "time": "t"}}},
            "graph": {"max_neighbours": LONGEST},
            "interest": {"dim": sizes.dim},
            "roi": {
                "plan": plan,
                "weights": {"likeness": 1, "linked": 0, "recency": 0},
                "request_hops": [{"user_item": 10}, {"item_user": 5}],
                "item_hops": [{"item_user": 10}, {"user_item": 5}],
            },
            "models": {"popularity": {"kind": "popularity"}},
        }
    )


def write_tables(lake: Lake, sizes: Sizes, seed: int) -> dict[str, int]:
    """Write adjacency, histories, interest_vectors, nodes and requests; return counts."""
    rng = np.random.Generator(np.random.Philox(seed))
    run = Run("bench", "retrieval", DS, "bench", "-", "-")
    pairs = _pairs(rng, sizes)
    lists = {"user_item": _lists(*pairs), "item_user": _lists(pairs[1], pairs[0], pairs[2])}
    adjacency = pa.concat_tables([_adjacency(edge_type, *found) for edge_type, found in lists.items()])
    lake.write("adjacency", adjacency, where={"ds": DS}, run=run)
    lake.write("histories", _histories(*lists["user_item"][:2]), where={"ds": DS}, run=run)
    lake.write("interest_vectors", _vectors(rng, sizes), where={"ds": DS}, run=run)
    rows = [
        {"ds": DS, "node_type": "item", "id": n, "key": str(n), "fields": [], "terms": []} for n in range(sizes.items)
    ]
    lake.write("nodes", pa.Table.from_pylist(rows, schema=TABLES["nodes"].arrow_schema), where={"ds": DS}, run=run)
    lake.write("requests", _requests(rng, sizes), where={"ds": DS}, run=run)
    return {"nodes": sizes.nodes, "edges": sum(len(ids) for _, ids, _ in lists.values())}


def _pairs(rng: np.random.Generator, sizes: Sizes) -> tuple[NDArray, NDArray, NDArray]:
    """Distinct (user, item) pairs and weights in 1/256ths: degrees by a Pareto law cut at LONGEST, popularity of
    items falling with the square root of their rank."""
    degrees = np.minimum(LONGEST, 15 * rng.random(sizes.users) ** -0.8).astype(np.int64)
    user = np.repeat(np.arange(sizes.users), degrees)
    item = (sizes.items * rng.random(len(user)) ** 2).astype(np.int64)
    both = np.unique(user << 32 | item)
    return both >> 32, both & 0xFFFFFFFF, rng.integers(1, 256, len(both))


def _lists(src: NDArray, dst: NDArray, weight: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Neighbour lists cut to LONGEST by (weight desc, id asc): offsets by source, ids, weights."""
    key = np.sort(src << 40 | (255 - weight) << 32 | dst)
    src = key >> 40
    starts = np.searchsorted(src, np.arange(src.max() + 2))
    kept = key[np.arange(len(key)) - starts[src] < LONGEST]
    offsets = np.searchsorted(kept >> 40, np.arange(src.max() + 2))
    weights = (255 - (kept >> 32 & 0xFF)).astype(np.float32) / 256
    return offsets.astype(np.int32), (kept & 0xFFFFFFFF).astype(np.int32), weights


def _adjacency(edge_type: str, offsets: NDArray, ids: NDArray, weights: NDArray) -> pa.Table:
    rows = len(offsets) - 1
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(DS), rows),
            "as_of": pa.repeat(pa.scalar(AS_OF), rows),
            "edge_type": pa.repeat(edge_type, rows),
            "src": pa.array(np.arange(rows, dtype=np.int32)),
            "neighbours": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
            "weights": pa.ListArray.from_arrays(pa.array(offsets), pa.array(weights)),
        },
        schema=TABLES["adjacency"].arrow_schema,
    )


def _histories(offsets: NDArray, ids: NDArray) -> pa.Table:
    """The items of the users' lists as their histories, the first one the newest."""
    user, last = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets)), offsets[1:] - 1
    order = last[user] - np.arange(len(ids)) + offsets[user]  # each list turned round
    seconds = np.arange(len(ids)) - offsets[user]
    start = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    columns = {
        "ds": pa.repeat(pa.scalar(DS), len(ids)),
        "user": pa.array(user),
        "time": pa.array((start + seconds) * 1_000_000, pa.timestamp("us", "UTC")),
        "item": pa.array(ids[order]),
        "query": pa.repeat(pa.scalar(-1, pa.int32()), len(ids)),
    }
    return pa.table(columns, schema=TABLES["histories"].arrow_schema)


def _vectors(rng: np.random.Generator, sizes: Sizes) -> pa.Table:
    counts = {"user": sizes.users, "query": sizes.queries, "item": sizes.items}
    vectors = rng.standard_normal((sizes.nodes, sizes.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    offsets = np.arange(sizes.nodes + 1, dtype=np.int32) * sizes.dim
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(DS), sizes.nodes),
            "as_of": pa.repeat(pa.scalar(AS_OF), sizes.nodes),
            "node_type": pa.concat_arrays([pa.repeat(kind, count) for kind, count in counts.items()]),
            "id": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts.values()])),
            "vector": pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel())),
            "norm": pa.repeat(pa.scalar(1.0, pa.float32()), sizes.nodes),
            "degree": pa.repeat(pa.scalar(1, pa.int32()), sizes.nodes),
        },
        schema=TABLES["interest_vectors"].arrow_schema,
    )


def _requests(rng: np.random.Generator, sizes: Sizes) -> pa.Table:
    count = sizes.requests
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(DS), count),
            "split": pa.repeat("train", count),
            "as_of": pa.repeat(pa.scalar(AS_OF), count),
            "request_id": pa.array(rng.permutation(count).astype(np.int64)),
            "user": pa.array(rng.integers(0, sizes.users, count, dtype=np.int32)),
            "query": pa.array(rng.integers(0, sizes.queries, count, dtype=np.int32)),
            "item": pa.array(rng.integers(0, sizes.items, count, dtype=np.int32)),
            "label": pa.repeat(pa.scalar(1.0, pa.float32()), count),
            "time": pa.repeat(pa.scalar(datetime(2020, 1, 5, tzinfo=UTC), pa.timestamp("us", "UTC")), count),
            "event_id": pa.array(map(str, range(count))),
            "known_user": pa.repeat(True, count),
        },
        schema=TABLES["requests"].arrow_schema,
    )
