"""What each model did with the requests of past windows: scores of positives and negatives, and full ranks.

Legend: R requests, P positives (flat), N negatives per request, D dimension, K shown items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.hashing import uniform
from roilake.pipelines.retrieval.feed.rows import RequestRows
from roilake.pipelines.retrieval.scoring.negatives import drawn
from roilake.pipelines.retrieval.scoring.pinned import Shard, Tower
from roilake.pipelines.retrieval.scoring.topk import Scorer, ranks, top_k
from roilake.pipelines.retrieval.scoring.towers import Worker, select
from roilake.pipelines.retrieval.seen import Seen

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("split", pa.string()),
        ("as_of", pa.date32()),
        ("request", pa.int64()),
        ("user", pa.int32()),
        ("query", pa.int32()),
        ("cold", pa.bool_()),
        ("bare", pa.bool_()),
        ("seen", pa.int32()),
        ("top", pa.list_(pa.int32())),
        ("items", pa.list_(pa.int32())),
        ("head", pa.list_(pa.bool_())),
        ("positives", pa.list_(pa.float32())),
        ("ranks", pa.list_(pa.int64())),
        *((kind, pa.list_(pa.float32())) for kind in ("uniform", "popular", "in_query")),
    ]
)


@dataclass(frozen=True)
class Evaluated:
    """The requests that are evaluated and what is drawn for them: the same for every model. ``seen_R`` counts the
    positives that are left out, being seen ones."""

    rows: RequestRows
    cold_R: NDArray[np.bool_]
    bare_R: NDArray[np.bool_]
    seen_R: NDArray[np.int32]
    row_P: Tensor
    item_P: Tensor
    head_P: NDArray[np.bool_]
    negatives: dict[str, NDArray[np.int64]]
    seen: Seen


def evaluate(
    negatives: int, seed: int, share: float, *, depth: int = 0
) -> Callable[[Worker, Shard], Iterator[pa.Table]]:
    """Work for ``map_shards``: one row per request and tower. ``share`` of the requests is evaluated, chosen by
    keyed hash of the request. Negatives are drawn with replacement from all items, the request's positives
    excluded: ``uniform`` equally, ``popular`` in proportion to the item's events before the window, ``in_query``
    equally from the items that are linked to the query as of then. ``ranks`` are ranks among all items and ``top``
    holds the first ``depth`` of that list (fewer where fewer are left), as item ids; ``items`` are the positives,
    ``head`` marks those among the 20 % of known items with most events; ``cold`` marks users without an event before
    the window, ``bare`` those without one before the request; ``query`` is -1 where there is none.

    Where the night drops seen items, what the user had before the request is in no list and among no negatives, and
    is no positive: ``seen`` counts these, and a request without any other has an empty list of ``items``."""

    def work(worker: Worker, shard: Shard) -> Iterator[pa.Table]:
        evaluated = _evaluated(worker, shard, negatives, seed, share)
        if len(evaluated.rows):
            for tower in worker.night.towers:
                yield _outcomes(worker, shard, tower, evaluated, depth)

    return work


def _evaluated(worker: Worker, shard: Shard, negatives: int, seed: int, share: float) -> Evaluated:
    """The requests [R] of a shard that are evaluated, their positives [P], and the negatives drawn for each by keyed
    hash."""
    rows = worker.requests(shard, positives=True)
    rows = select(rows, np.flatnonzero(uniform(seed, rows.root_R[: len(rows)]) < share))
    user_R, positives_RP = rows.user_R[: len(rows)], rows.positives_RP[: len(rows)]
    degree_I = worker.store().degrees("item", shard.as_of)
    row_P, column_P = np.nonzero(positives_RP >= 0)
    item_P = positives_RP[row_P, column_P].astype(np.int64)
    seen = worker.seen(rows)
    known_P = seen.holds(row_P, item_P)
    weights = {"uniform": worker.store().known("item").astype(np.float64), "popular": degree_I.astype(np.float64)}
    return Evaluated(
        rows=rows,
        cold_R=worker.store().degrees("user", shard.as_of)[user_R] == 0,
        bare_R=worker.bare(rows),
        seen_R=np.bincount(row_P[known_P], minlength=len(rows)).astype(np.int32),
        row_P=torch.from_numpy(row_P[~known_P]),
        item_P=torch.from_numpy(item_P[~known_P]),
        head_P=head_items(degree_I)[item_P[~known_P]],
        negatives=drawn(rows, worker.linked(shard.as_of, rows), weights, seen, negatives, seed),
        seen=seen,
    )


def with_days(outcomes: pa.Table, requests: pa.Table) -> pa.Table:
    """Outcomes and the day of each positive: list column ``days`` beside ``items``. ``requests`` are rows of that
    table (request_id, item, time) with all requests of the outcomes; of several events of a pair the first counts."""
    pairs = requests.group_by(["request_id", "item"]).aggregate([("time", "min")])
    lengths = pc.list_value_length(outcomes["items"]).to_numpy()
    wanted = pa.table(
        {
            "request_id": np.repeat(outcomes["request"].to_numpy(), lengths),
            "item": pc.list_flatten(outcomes["items"]),
            "position": np.arange(lengths.sum()),
        }
    )
    found = wanted.join(pairs, ["request_id", "item"]).sort_by("position")
    return outcomes.append_column("days", _lists(found["time_min"].cast(pa.date32()), lengths))


def head_items(degree_I: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the fifth (rounded up) of the items with events that have most of them; ties by lower item."""
    known = int(np.count_nonzero(degree_I))
    order = np.argsort(-degree_I, kind="stable")
    head_I = np.zeros(len(degree_I), np.bool_)
    head_I[order[: -(-known // 5)]] = True
    return head_I


def _outcomes(worker: Worker, shard: Shard, tower: Tower, evaluated: Evaluated, depth: int) -> pa.Table:
    """What one model does with the evaluated requests: scores and ranks of positives, scores of negatives, first
    items."""
    scorer = worker.scorer(tower, shard.as_of, evaluated.rows)
    count = len(evaluated.rows)
    lengths = np.bincount(evaluated.row_P.numpy(), minlength=count)
    rank_P = ranks(scorer, evaluated.row_P, evaluated.item_P, seen=evaluated.seen).numpy()
    positives, *negatives = _pair_scores(scorer, evaluated)
    columns = [
        pa.array([tower.name] * count),
        pa.array([shard.split] * count),
        pa.array([shard.as_of] * count),
        pa.array(evaluated.rows.root_R[:count]),
        pa.array(evaluated.rows.user_R[:count]),
        pa.array(evaluated.rows.query_R[:count]),
        pa.array(evaluated.cold_R),
        pa.array(evaluated.bare_R),
        pa.array(evaluated.seen_R),
        _top(scorer, evaluated.seen, depth),
        _lists(evaluated.item_P.numpy().astype(np.int32), lengths),
        _lists(evaluated.head_P, lengths),
        positives,
        _lists(rank_P, lengths),
        *negatives,
    ]
    return pa.table(columns, schema=SCHEMA)


def _top(scorer: Scorer, seen: Seen, depth: int) -> pa.ListArray:
    """The first ``depth`` items of each request's list."""
    k = min(depth, scorer.num_items)
    if not k:
        return _lists(np.empty(0, np.int32), np.zeros(scorer.num_requests, np.int64))
    item_RK = top_k(scorer, k, seen=seen)[1].numpy().astype(np.int32)
    return _lists(item_RK[item_RK >= 0], (item_RK >= 0).sum(1))


def _pair_scores(scorer: Scorer, evaluated: Evaluated) -> list[pa.ListArray]:
    """Scores by request of positives and each kind of negatives; all computed in one way, so that ties stay ties."""
    rows, items = [evaluated.row_P], [evaluated.item_P]
    for drawn_RN in evaluated.negatives.values():
        row, column = np.nonzero(drawn_RN >= 0)
        rows.append(torch.from_numpy(row))
        items.append(torch.from_numpy(drawn_RN[row, column]))
    scores = scorer.pairs(torch.cat(rows), torch.cat(items)).split([len(row) for row in rows])
    lengths = (np.bincount(row.numpy(), minlength=len(evaluated.rows)) for row in rows)
    return [_lists(part.numpy(), length) for part, length in zip(scores, lengths, strict=True)]


def _lists(values: NDArray | pa.ChunkedArray, lengths_R: NDArray) -> pa.ListArray:
    offsets = np.r_[0, np.cumsum(lengths_R)].astype(np.int32)
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
