"""Small impressions as parquet files in the lake's folder layout, without Spark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from roilake.hashing import keyed_hash, uniform
from roilake.lake import DataFile
from roilake.lake.tables import TABLES
from tests.retrieval.feed.data import write_file

USERS, ITEMS, SHARDS = 40, 25, 2
NAMES, SIDES = ("user", "item", "day"), ("user", "item", "context")


def impressions(rows: int, first: int = 0) -> dict[str, np.ndarray]:
    """Rows whose columns all follow from their number; converts more often where user and item are both even."""
    number_R = np.arange(first, first + rows)
    user_R, item_R = (keyed_hash(n, number_R) % m for n, m in ((1, USERS), (2, ITEMS)))
    click_R = uniform(3, number_R) < 0.3
    likely_R = np.where((user_R % 2 == 0) & (item_R % 2 == 0), 0.8, 0.1)
    day_R = np.where(number_R % 5 == 0, -1, number_R % 7)
    categories_RF = np.stack([1000 + user_R, 5000 + item_R, day_R], axis=1).astype(np.int32)
    return {
        "number": number_R,
        "categories": categories_RF,
        "click": click_R,
        "conversion": click_R & (uniform(4, number_R) < likely_R),
    }


def write_impressions(folder: Path, split: str, rows: int, *, first: int = 0, group: int = 50) -> list[DataFile]:
    """A file for each shard of clicked and unclicked rows, in row groups of ``group`` rows."""
    columns = impressions(rows, first)
    files = []
    for labelled in (0, 1):
        for shard in range(SHARDS):
            chosen = np.flatnonzero((columns["click"] == labelled) & (columns["number"] % SHARDS == shard))
            partition = {"split": split, "labelled": str(labelled), "shard": str(shard)}
            table = _table(columns, chosen, labelled)
            files.append(write_file(folder / "impressions", "part-0", table, partition, group))
    return files


def write_pseudo_labels(folder: Path, rows: int, *, teacher: str = "t", group: int = 50) -> list[DataFile]:
    """Pseudo-labels of the unclicked of the first ``rows`` impressions."""
    columns = impressions(rows)
    files = []
    for shard in range(SHARDS):
        chosen = np.flatnonzero(~columns["click"] & (columns["number"] % SHARDS == shard))
        table = _table(columns, chosen, 0).select(["impression_id", "categories", "sampling_rate", "propensity"])
        table = table.append_column("probability", pa.array(0.1 + chosen % 5 / 10, pa.float64()))
        partition = {"teacher": teacher, "shard": str(shard)}
        files.append(write_file(folder / "pseudo_labels", "part-0", table, partition, group))
    return files


def _table(columns: dict[str, np.ndarray], chosen: np.ndarray, labelled: int) -> pa.Table:
    conversion = columns["conversion"][chosen].astype(np.int32)
    table = pa.table(
        {
            "impression_id": [f"i{number:06d}" for number in columns["number"][chosen]],
            "categories": pa.array(columns["categories"][chosen].tolist(), pa.list_(pa.int32())),
            "click": pa.array(np.full(len(chosen), labelled, np.int32)),
            "conversion": pa.array(conversion if labelled else [None] * len(chosen), pa.int32()),
            "sampling_rate": pa.array(np.full(len(chosen), 1.0)),
            "propensity": pa.array([None] * len(chosen), pa.float64()),
        }
    )
    types = {c.name: c.arrow_type for c in TABLES["impressions"].columns}
    return table.cast(pa.schema([(name, types[name]) for name in table.column_names]))
