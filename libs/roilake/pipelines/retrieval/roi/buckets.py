"""The graph of a window cut into buckets by source node, each list beside the vectors of its neighbours.

What the shuffled plan reads: flat files on storage that all machines share, written once a run. A bucket is small
enough for one task; a candidate's vector lies next to its id, so that scoring a list reads one run of bytes. Legend of
shape suffixes: N nodes of one type, E edges of a bucket, D dimension (padded to 32), L lists."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.roi.cache import StoreFiles
from roilake.pipelines.retrieval.roi.history import HistoryGraph
from roilake.pipelines.retrieval.roi.kernel import Lists
from roilake.pipelines.retrieval.roi.layout import node_types
from roilake.pipelines.retrieval.roi.sampling import rows_of
from roilake.pipelines.retrieval.roi.store import (
    LINKS,
    NODE_TYPES,
    compressed_rows,
    load,
    quantised_vectors,
    read_lists,
)

KEYS = ("as_of", "edge_type", "bucket")
LINK_PARTS = ("offsets", "ids")
"""Arrays of the lists ``LINKS``, which every task that cuts histories maps whole."""


@dataclass(frozen=True)
class Buckets:
    """Where the buckets of a run lie, and how many there are a node type and window."""

    folder: Path
    count: int

    def vectors(self, as_of: date, node_type: str) -> NDArray[np.int8]:
        """Quantised vectors of a type, [N, D], mapped."""
        return load(self.folder / str(as_of) / f"{node_type}.npy")

    def history_graph(self, as_of: date) -> HistoryGraph:
        """What histories are scored by, mapped."""
        vectors = {node_type: self.vectors(as_of, node_type) for node_type in NODE_TYPES}
        return HistoryGraph(vectors, *(load(self.folder / str(as_of) / f"{LINKS}.{name}.npy") for name in LINK_PARTS))

    def open(self, as_of: date, edge_type: str, number: int) -> Bucket | None:
        """A bucket; None when it holds no list."""
        return _open(self.folder / str(as_of) / edge_type / str(number))


@dataclass(frozen=True)
class Bucket:
    """Lists of the sources ``number, number + count, ...``: that of ``number + s * count`` begins at offsets[s]."""

    offsets: NDArray[np.int64]
    ids_E: NDArray[np.int32]
    vectors_ED: NDArray[np.int8]

    def lists(self, index_L: NDArray[np.int64]) -> Lists:
        """Lists of the sources of these indices in the bucket; empty where it has none."""
        known = index_L < len(self.offsets) - 1
        at = np.where(known, index_L, 0)
        first_L = self.offsets[at]
        return Lists(first_L, np.where(known, self.offsets[at + 1], first_L), self.ids_E, self.vectors_ED, True)


def write_buckets(
    spark: SparkSession, adjacency: DataFrame, stores: Mapping[date, StoreFiles], buckets: Buckets
) -> None:
    """Write vectors and buckets of all windows: ``adjacency`` holds their (as_of, edge_type, src, neighbours)."""
    _each(spark.range(0, len(stores), 1, len(stores)), _vector_writer(list(stores.values()), buckets))
    lists = adjacency.withColumn("bucket", F.pmod("src", F.lit(buckets.count)))
    parts = lists.repartition(buckets.count, *KEYS)
    _each(parts.select(*KEYS, "src", "neighbours"), _bucket_writer(buckets))


def _vector_writer(stores: list[StoreFiles], buckets: Buckets) -> Callable[[pa.Table], None]:
    def write(windows: pa.Table) -> None:
        for window in windows["id"].to_pylist():
            folder = buckets.folder / str(stores[window].as_of)
            vectors = quantised_vectors(stores[window].vectors, dict.fromkeys(NODE_TYPES, 0))
            lists = read_lists(stores[window].adjacency, LINKS)
            links: tuple[NDArray, NDArray] = compressed_rows(lists["src"].to_numpy(), lists["neighbours"])
            arrays: dict[str, NDArray] = {**vectors}
            for part, link in zip(LINK_PARTS, links, strict=True):
                arrays[f"{LINKS}.{part}"] = link
            for name, array in arrays.items():
                _save(folder / f"{name}.npy", array)

    return write


def _bucket_writer(buckets: Buckets) -> Callable[[pa.Table], None]:
    """What writes the buckets whose lists a task holds."""

    def write(lists: pa.Table) -> None:
        for key in lists.group_by(list(KEYS)).aggregate([]).to_pylist():
            as_of, edge_type, number = (key[name] for name in KEYS)
            mine = pc.and_(pc.equal(lists["as_of"], as_of), pc.equal(lists["edge_type"], edge_type))
            some = lists.filter(pc.and_(mine, pc.equal(lists["bucket"], number)))
            offsets, ids_E = compressed_rows(some["src"].to_numpy() // buckets.count, some["neighbours"])
            folder = buckets.folder / str(as_of) / edge_type
            vectors_ED = rows_of(buckets.vectors(as_of, node_types(edge_type)[1]), ids_E)
            arrays: dict[str, NDArray] = {"offsets": offsets, "ids": ids_E, "vectors": vectors_ED}
            for name, array in arrays.items():
                _save(folder / str(number) / f"{name}.npy", array)

    return write


def _each(parts: DataFrame, write: Callable[[pa.Table], None]) -> None:
    """Run ``write`` on each partition, in the tasks."""

    def task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        found = list(batches)
        if found:
            write(pa.Table.from_batches(found))
        yield pa.RecordBatch.from_pydict({"done": pa.array([len(found)], pa.int64())})

    parts.mapInArrow(task, "done long").collect()


def _save(path: Path, array: NDArray) -> None:
    """Write aside and rename: a task that fails or runs twice leaves whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{uuid.uuid4().hex}.npy")
    np.save(aside, array)
    aside.rename(path)


@lru_cache(maxsize=32)
def _open(folder: Path) -> Bucket | None:
    if not folder.exists():
        return None
    return Bucket(*(load(folder / f"{name}.npy") for name in ("offsets", "ids", "vectors")))
