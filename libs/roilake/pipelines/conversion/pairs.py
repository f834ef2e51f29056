"""Probabilities of every pair of a user and an item of a night's log: what other pipelines rank by, without this one.

A model of towers over concatenated embeddings does not factorise, so no vectors of users and items would do. All pairs
are scored where they are few; attributes of a user or an item beside its id is as of its last impression, and
context fields are missing. Legend: U users, I items, F categorical fields, R pairs of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Make
from roilake.pipelines.conversion.scoring import BATCH, SavedModel, open_models

Categories = NDArray[np.int32]
SIDES = ("user", "item")
TASK_PAIRS = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """Column ``categories`` of users and items, by id, -1 in the fields of the other side and of the context."""

    user_UF: Categories
    item_IF: Categories

    @property
    def buckets(self) -> list[Categories]:
        """The users, cut into ranges of about ``TASK_PAIRS`` pairs."""
        count = -(-len(self.user_UF) * len(self.item_IF) // TASK_PAIRS)
        return np.array_split(self.user_UF, max(1, count))


def count_pairs(impressions: DataFrame) -> int:
    """About how many pairs there are, to a few per cent."""
    counts = [F.approx_count_distinct(F.col("categories")[n]) for n in range(len(SIDES))]
    found = impressions.agg(*counts).first()
    return found[0] * found[1] if found else 0


def pairs_of(impressions: DataFrame, sides: Sequence[str]) -> Pairs:
    """All users and items of impressions, whose fields are of these ``sides`` (user and item themselves first)."""
    ends = [F.struct(F.lit(side).alias("side"), F.col("categories")[n].alias("id")) for n, side in enumerate(SIDES)]
    last = F.max_by("categories", F.struct("time", "impression_id")).alias("categories")
    rows = impressions.withColumn("end", F.explode(F.array(*ends))).groupBy("end.side", "end.id").agg(last).toArrow()
    found = {}
    for side in SIDES:
        lists = rows.filter(pc.equal(rows["side"], side)).sort_by("id")["categories"].combine_chunks()
        categories_NF = pc.list_flatten(lists).to_numpy().astype(np.int32).reshape(len(lists), len(sides))
        found[side] = np.where(np.array(sides) == side, categories_NF, np.int32(-1))
    return Pairs(found["user"], found["item"])


def scoring_pairs(model: SavedModel, pairs: Pairs, ds: date) -> Make:
    """Rows of ``pair_scores`` of the buckets whose numbers a task is given, by (user, item)."""
    buckets, item_IF = pairs.buckets, pairs.item_IF

    def make(numbers: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each bucket, some users at a time: each of them with all items."""
        (opened,) = open_models((model,))
        users = max(1, BATCH // len(item_IF))  # of a batch
        for bucket in numbers["id"].to_pylist():
            for start in range(0, len(buckets[bucket]), users):
                user_UF = buckets[bucket][start : start + users]
                pair_RF = np.maximum(np.repeat(user_UF, len(item_IF), axis=0), np.tile(item_IF, (len(user_UF), 1)))
                found = opened.predict(pair_RF)
                same = {"ds": ds, "bucket": bucket, "version": model.version}
                columns = {
                    **{name: pa.repeat(pa.scalar(value), len(pair_RF)) for name, value in same.items()},
                    "user": pair_RF[:, 0],
                    "item": pair_RF[:, 1],
                    "pctr": pa.nulls(len(pair_RF)) if found.pctr_R is None else found.pctr_R,
                    "pcvr": found.pcvr_R,
                }
                yield "pair_scores", pa.table(columns)

    return make
