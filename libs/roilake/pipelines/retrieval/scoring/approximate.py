"""Approximate top-K by FAISS: an inverted file over cells of item vectors, of which a request looks at a part.

Legend: R requests, I items, D dimension, K shown items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.hashing import uniform
from roilake.pipelines.retrieval.scoring.pinned import Shard, cells_path
from roilake.pipelines.retrieval.scoring.topk import NONE, Product, top_k
from roilake.pipelines.retrieval.scoring.towers import Worker, select
from roilake.pipelines.retrieval.seen import Seen

RECALL_SCHEMA = pa.schema([("found", pa.int64()), ("asked", pa.int64())])
_LOOKED_INTO, _SPARE = 32, 4


def write_cells(items_ID: Tensor, path: str, seed: int, absent: NDArray[np.int64] = NONE) -> None:
    """Lay out an inverted file of 4 sqrt(I) k-means cells (39 items a cell or more, for fewer give no centre), by
    inner product, without the ``absent`` rows. One thread: the sums of several would depend on their order."""
    item_I = np.delete(np.arange(len(items_ID)), absent)
    vectors_ID = items_ID.numpy()[item_I]
    count, dim = vectors_ID.shape
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, _cells(count), faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        index.train(vectors_ID)
        index.add_with_ids(vectors_ID, item_I)
    finally:
        faiss.omp_set_num_threads(threads)
    faiss.write_index(index, path)


def near_top_k(scorer: Product, k: int, path: str, seen: Seen) -> tuple[Tensor, Tensor]:
    """As ``top_k``, from the cells that ``write_cells`` laid out. A request looks into 32 cells (8 sqrt(I) items), and
    into so many that they hold four items for each one shown on average. Where items are seen, twice as many are looked
    for. One that is left with fewer than k is ranked exactly. With 200,000 items of 32 coordinates, K = 200 and one
    core it is no faster than ``top_k`` (0.2 s for 1,000 requests, at recall .94): it is for millions of items."""
    index: Any = faiss.read_index(path, faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    wanted = math.ceil(index.nlist * _SPARE * k / scorer.num_items)
    index.nprobe = min(index.nlist, max(_LOOKED_INTO, wanted))
    faiss.omp_set_num_threads(torch.get_num_threads())
    deep = 2 * k if len(seen.had.key_E) else k
    near_score_RK, near_RK = index.search(scorer.requests_BD.numpy(), deep)
    hidden_RK = seen.holds(np.arange(len(near_RK)).repeat(deep), near_RK.ravel()).reshape(near_RK.shape)
    near_score_RK[hidden_RK], near_RK[hidden_RK] = -np.inf, -1
    order_RK = np.lexsort((near_RK, -near_score_RK))[:, :k]
    score_RK, item_RK = (np.take_along_axis(found, order_RK, axis=1) for found in (near_score_RK, near_RK))
    short = np.flatnonzero((item_RK < 0).any(axis=1))
    if len(short):
        exact = top_k(replace(scorer, requests_BD=scorer.requests_BD[short]), k, seen=seen.of(short))
        score_RK[short], item_RK[short] = (found.numpy() for found in exact)
    return torch.from_numpy(score_RK), torch.from_numpy(item_RK)


def compare(k: int, share: float, seed: int) -> Callable[[Worker, Shard], Iterator[pa.Table]]:
    """Work for ``map_shards``: for ``share`` of the requests, chosen by a keyed hash, how many of the k best items were
    found, of how many."""

    def work(worker: Worker, shard: Shard) -> Iterator[pa.Table]:
        (tower,) = worker.night.towers
        rows = worker.requests(shard, positives=False)
        rows = select(rows, np.flatnonzero(uniform(seed, rows.root_R[: len(rows)]) < share))
        if not len(rows):
            return
        scorer = worker.product(tower, shard.as_of, rows)
        seen, shown = worker.seen(rows), min(k, scorer.num_items)
        near = near_top_k(scorer, shown, cells_path(worker.night, tower, shard.as_of), seen)[1].numpy()
        exact = top_k(scorer, shown, seen=seen)[1].numpy()
        yield pa.table([[_common(near, exact)], [(exact >= 0).sum()]], names=RECALL_SCHEMA.names)

    return work


def _cells(items: int) -> int:
    return max(1, min(int(4 * math.sqrt(items)), items // 39))


def _common(one_RK: NDArray[np.int64], other_RK: NDArray[np.int64]) -> int:
    both = np.sort(np.concatenate([one_RK, other_RK], axis=1), axis=1)
    return int(((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)).sum())
