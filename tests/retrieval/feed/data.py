"""Small tables as parquet files in the lake's folder layout, without Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roilake.lake import DataFile
from roilake.pipelines.retrieval.roi.layout import RoiLayout

WINDOW = date(2020, 1, 6)
START, HOUR = 1_578_268_800_000_000, 3_600_000_000  # microseconds: midnight of that day
USERS, QUERIES, ITEMS, DIM = 12, 5, 20, 4
COUNTS = {"user": USERS, "query": QUERIES, "item": ITEMS}


def write_file(folder: Path, name: str, table: pa.Table, partition: dict[str, str], group: int = 50) -> DataFile:
    target = folder.joinpath(*(f"{key}={value}" for key, value in partition.items()), f"{name}.parquet")
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target, row_group_size=group)
    return DataFile(str(target), partition, table.num_rows, target.stat().st_size)


def at(root: int | np.ndarray) -> Any:
    """Microseconds of the request with this root: an hour after the one before."""
    return START + root * HOUR


def request_table(roots: Sequence[int], layout: RoiLayout) -> pa.Table:
    """Rows whose columns all follow from the root, so that a test can recognise them."""
    slots, places = layout.size, layout.places
    root_R = np.asarray(roots, np.int64)
    positives = [[(int(root) + k) % ITEMS for k in range(1 + int(root) % 3)] for root in root_R]
    neighbours = [[-1 if k % 3 == 2 else (int(root) + k) % QUERIES for k in range(slots)] for root in root_R]
    relevance = [[(int(root) * 7 + k) % 128 for k in range(slots)] for root in root_R]
    return pa.table(
        {
            "root": root_R,
            "user": (root_R % USERS).astype(np.int32),
            "query": np.where(root_R % 7 == 0, -1, root_R % QUERIES).astype(np.int32),
            "time": pa.array(at(root_R), pa.timestamp("us", "UTC")),
            "positives": pa.array(positives, pa.list_(pa.int32())),
            "repeats": np.zeros(len(root_R), np.int32),
            "neighbours": pa.array(neighbours, pa.list_(pa.int32())),
            "relevance": pa.array(relevance, pa.list_(pa.int8())),
            "linked": pa.array([[(int(root) + k) % 2 for k in range(places)] for root in root_R], pa.list_(pa.int8())),
            "ages": pa.array([[int(root) % 99 - k for k in range(places)] for root in root_R], pa.list_(pa.int8())),
        }
    )


def write_requests(
    folder: Path, rows_per_file: Sequence[int], *, shards: int, layout: RoiLayout, as_of: date = WINDOW, first: int = 0
) -> list[DataFile]:
    """File k holds ``rows_per_file[k]`` rows and belongs to shard k mod ``shards``."""
    files = []
    for number, rows in enumerate(rows_per_file):
        partition = {"side": "request", "as_of": str(as_of), "shard": str(number % shards)}
        table = request_table(range(first, first + rows), layout)
        files.append(write_file(folder / "rois", f"part-{number}", table, partition, group=7 + number))
        first += rows
    return files


def write_items(folder: Path, *, slots: int, as_of: date = WINDOW) -> DataFile:
    order = np.random.default_rng(0).permutation(ITEMS)
    neighbours = [[(int(item) + k) % USERS for k in range(slots)] for item in order]
    table = pa.table(
        {
            "root": order.astype(np.int64),
            "neighbours": pa.array(neighbours, pa.list_(pa.int32())),
            "relevance": pa.array([[50] * slots] * ITEMS, pa.list_(pa.int8())),
        }
    )
    return write_file(folder / "items", "part-0", table, {"as_of": str(as_of), "shard": "0"})


def node_table(counts: Mapping[str, int] = COUNTS, *, described: bool = True) -> pa.Table:
    """``described``: users have a field, items have terms."""
    rows = []
    for node_type, count in counts.items():
        for number in reversed(range(count)):
            fields = {"age": f"{number % 3}"} if described and node_type == "user" else {}
            terms = [f"w{number % 4}", "the"] if described and node_type == "item" else []
            rows.append({"node_type": node_type, "id": number, "terms": terms, "fields": list(fields.items())})
    schema = pa.schema(
        [
            ("node_type", pa.string()),
            ("id", pa.int32()),
            ("terms", pa.list_(pa.string())),
            ("fields", pa.map_(pa.string(), pa.string())),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def write_histories(folder: Path, events: Sequence[tuple[int, int, int]], ds: date = WINDOW) -> DataFile:
    """A night's file of (user, microseconds, item), without queries."""
    user, time, item = (list(column) for column in zip(*sorted(events), strict=True))
    columns = {"user": pa.array(user, pa.int32()), "time": pa.array(time, pa.timestamp("us", "UTC"))}
    columns |= {"item": pa.array(item, pa.int32()), "query": pa.array([-1] * len(item), pa.int32())}
    return write_file(folder / "histories", "part-0", pa.table(columns), {"ds": str(ds)})


def write_nodes(folder: Path) -> DataFile:
    return write_file(folder / "nodes", "part-0", node_table(), {"ds": str(WINDOW)})


def vector_table(as_of: date, counts: Mapping[str, int] = COUNTS) -> pa.Table:
    """Every node but the last of each type has a vector and a degree (its id)."""
    generator = np.random.default_rng(as_of.toordinal())
    rows = []
    for node_type, count in counts.items():
        for number in range(count - 1):
            vector = generator.standard_normal(DIM).astype(np.float32)
            rows.append({"node_type": node_type, "id": number, "vector": vector.tolist(), "degree": number})
    schema = pa.schema(
        [("node_type", pa.string()), ("id", pa.int32()), ("vector", pa.list_(pa.float32())), ("degree", pa.int32())]
    )
    return pa.Table.from_pylist(rows, schema)


def write_vectors(folder: Path, as_of: date = WINDOW) -> DataFile:
    partition = {"ds": str(WINDOW), "as_of": str(as_of)}
    return write_file(folder / "interest_vectors", "part-0", vector_table(as_of), partition)
