"""Top-K over all items for every request of the serve window, and what another pipeline knows of these pairs.

Legend: R requests, K shown items, P pairs of a user and an item, S rows of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import NODE_TYPES, ScoringConfig
from roilake.pipelines.retrieval.graph.requests import keyed
from roilake.pipelines.retrieval.scoring.approximate import near_top_k
from roilake.pipelines.retrieval.scoring.pinned import Shard, cells_path
from roilake.pipelines.retrieval.scoring.topk import top_k
from roilake.pipelines.retrieval.scoring.towers import Worker

Doubles = NDArray[np.float64]
SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("query", pa.int32()),
        ("rank", pa.int32()),
        ("item", pa.int32()),
        ("score", pa.float64()),
        ("pcvr", pa.float64()),
    ]
)


def recommend(
    scoring: ScoringConfig, pair_scores: Sequence[DataFile] = ()
) -> Callable[[Worker, Shard], Iterator[pa.Table]]:
    """Work for ``map_shards``: the min(top_k, items) best items of each request by the night's only tower, as ids,
    without seen ones where the night drops these; by ``index`` ``ivf`` those that ``near_top_k`` finds. They carry the
    pCVR that files of ``pair_scores`` have for user and item, if any, and come in the order of ``rank_by``."""

    def work(worker: Worker, shard: Shard) -> Iterator[pa.Table]:
        """The rows of one shard."""
        (tower,) = worker.night.towers
        rows = worker.requests(shard, positives=False)
        users_R, queries_R = rows.user_R[: len(rows)], rows.query_R[: len(rows)]
        seen = worker.seen(rows)
        if scoring.index == "ivf":
            product = worker.product(tower, shard.as_of, rows)
            path = cells_path(worker.night, tower, shard.as_of)
            score_RK, item_RK = near_top_k(product, min(scoring.top_k, product.num_items), path, seen)
        else:
            scorer = worker.scorer(tower, shard.as_of, rows)
            score_RK, item_RK = top_k(scorer, min(scoring.top_k, scorer.num_items), seen=seen)
        row_P, column_P = np.nonzero(item_RK.numpy() >= 0)
        user_P, item_P = users_R[row_P], item_RK.numpy()[row_P, column_P]
        pctr_P, pcvr_P = pair_probabilities(pair_scores, user_P, item_P)
        order_P = np.arange(len(row_P))
        if scoring.rank_by == "pctcvr":
            order_P = by_expected_conversions(row_P, pctr_P, pcvr_P)
        columns = {
            "user": user_P,
            "query": queries_R[row_P],
            "item": item_P[order_P],
            "score": score_RK.numpy()[row_P, column_P][order_P],
            "pcvr": pa.array(pcvr_P[order_P], from_pandas=True),
            "rank": column_P + 1,  # a request's items fill its first columns
        }
        yield pa.table({name: columns[name] for name in SCHEMA.names})

    return work


def pair_probabilities(
    files: Sequence[DataFile], user_P: NDArray[np.int32], item_P: NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """pCTR [P] and pCVR [P] of pairs of node ids, from files of table ``pair_scores``; NaN where there is none. Only
    the row groups of these users are read."""
    columns, wanted = ["user", "item", "pctr", "pcvr"], pc.field("user").isin(np.unique(user_P))
    parts = [pq.read_table(file.path, columns=columns, filters=wanted, partitioning=None) for file in files]
    rows = pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.float32()) for name in columns})
    key_S = _keys(rows["user"].to_numpy(), rows["item"].to_numpy())
    order_S = np.argsort(key_S, kind="stable")
    key_P = _keys(user_P, item_P)
    index_P = np.searchsorted(key_S[order_S], key_P)
    row_P = np.append(order_S, -1)[index_P]
    found_P = (row_P >= 0) & (np.append(key_S, -1)[row_P] == key_P)
    pctr_P, pcvr_P = (
        np.where(found_P, np.append(rows[name].to_numpy().astype(np.float64), np.nan)[row_P], np.nan)
        for name in ("pctr", "pcvr")
    )
    return pctr_P, pcvr_P


def _keys(user: NDArray, item: NDArray) -> NDArray[np.int64]:
    """One number for each pair of 31-bit ids."""
    return user.astype(np.int64) << 32 | item.astype(np.int64)


def by_expected_conversions(row_P: NDArray[np.int64], pctr_P: Doubles, pcvr_P: Doubles) -> NDArray[np.int64]:
    """Order [P] of pairs that come by (row, rank): inside a row by pctr * pcvr descending, ties and pairs without a
    probability by the rank that they had; these last."""
    expected_P = pctr_P * pcvr_P
    return np.lexsort((np.where(np.isnan(expected_P), np.inf, -expected_P), row_P))


def with_keys(rows: DataFrame, nodes: DataFrame, model: str, ds: date) -> DataFrame:
    """Rows of ``recommendations``: ids of the night's ``nodes`` become keys (query -1 becomes null), and items have
    their titles."""
    titles = nodes.where(F.col("node_type") == "item").select(F.col("id").alias("item"), "title")
    titled = rows.join(F.broadcast(titles), on="item", how="left")
    return keyed(titled, nodes, *NODE_TYPES).withColumns({"ds": F.lit(ds), "model": F.lit(f"{model}@{ds}")})
