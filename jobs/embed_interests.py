"""The graph as of each window's start -> ``interest_vectors``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from pyspark.sql import functions as F
from safetensors.numpy import load_file

from roilake.config import NightConfig
from roilake.errors import LakeError
from roilake.events import NODE_TYPES
from roilake.graph import LastModel, indexed, last_model, night_windows
from roilake.graph.interests import (
    Array,
    adjacency_matrix,
    carried_vectors,
    normalised,
    offsets,
    spectral_vectors,
    unit_rows,
)
from roilake.job import JobResult, Recorder, main, recorded
from roilake.lake import TABLES, Lake

JOB = "embed_interests"
ONE_WAY = ("user_query", "user_item", "query_item")


def run(lake: Lake, config: NightConfig, ds: date) -> JobResult:
    """Vectors are fitted to the graph on a first night, and carried over from the last published model
    after it. Nodes without an event before a window's start have no row for it."""
    with recorded(lake, config, ds, JOB) as record:
        instants = sorted({window.as_of for window in night_windows(lake, config, ds)})
        last = last_model(lake, config, ds)
        starts = offsets(_node_counts(record, ds))
        degrees = _degrees(record, instants, starts, ds)
        if last is None:
            vectors = _fitted(record, config, instants, starts)
        else:
            vectors = _carried(record, last, instants, starts)
        parts = [
            _rows(ds, instant, starts, degree, *unit_rows(v))
            for instant, degree, v in zip(instants, degrees, vectors, strict=True)
        ]
        record.details["source"] = f"{last.name}@{last.ds}" if last else "graph"
        record.write("interest_vectors", pa.concat_tables(parts))
    return record.result


def _node_counts(record: Recorder, ds: date) -> list[int]:
    ids = record.lake.to_arrow("node_ids", record.pin("node_ids"), columns=["node_type", "id", "ds"])
    ids = ids.filter(pc.less_equal(ids["ds"], pa.scalar(ds)))
    return [int(pc.sum(pc.equal(ids["node_type"], kind)).as_py() or 0) for kind in NODE_TYPES]


def _degrees(record: Recorder, instants: list[date], starts: list[int], ds: date) -> list[NDArray[np.int64]]:
    """Events of each node before each instant."""
    night = F.col("ds") <= F.lit(ds)
    by_id = indexed(record.read("events").where(night), F.broadcast(record.read("node_ids").where(night)))
    days = F.array(*(F.lit(instant) for instant in instants))
    bucket = F.size(F.filter(days, lambda day: day.cast("timestamp") <= F.col("time")))
    numbered = (F.when(F.col(k) >= 0, F.col(k) + start) for k, start in zip(NODE_TYPES, starts, strict=False))
    known = F.array_compact(F.array(*numbered))
    counts = (
        by_id.select(bucket.alias("bucket"), F.explode(known).alias("node")).groupBy("bucket", "node").count()
    )
    table = counts.toArrow()
    record.rows_in = int(pc.sum(table["count"]).as_py() or 0)
    per_bucket = np.zeros((len(instants) + 1, starts[-1]), np.int64)
    np.add.at(per_bucket, (table["bucket"].to_numpy(), table["node"].to_numpy()), table["count"].to_numpy())
    return list(np.cumsum(per_bucket, axis=0)[: len(instants)])


def _fitted(
    record: Recorder, config: NightConfig, instants: list[date], starts: list[int]
) -> Iterator[Array]:
    before: Array | None = None
    for instant in instants:
        where = {"ds": record.run.ds, "as_of": instant, "edge_type": list(ONE_WAY)}
        columns = ["edge_type", "src", "dst", "weight"]
        edges = record.lake.to_arrow("edges", record.pin("edges"), filters=where, columns=columns)
        rows, cols = _numbered(edges, starts)
        matrix = adjacency_matrix(starts[-1], rows, cols, edges["weight"].to_numpy())
        if not len(edges):
            yield np.zeros((starts[-1], config.interest.dim))
            continue
        scaled = normalised(matrix, config.interest.degree_exponent)
        before = spectral_vectors(scaled, config.interest.dim, config.seed, before)
        yield before


def _carried(record: Recorder, last: LastModel, instants: list[date], starts: list[int]) -> Iterator[Array]:
    known_ND = _known_vectors(last, starts)
    for instant in instants:
        where: dict[str, object] = {"ds": record.run.ds, "as_of": instant}
        lists = record.lake.to_arrow("adjacency", record.pin("adjacency"), filters=where)
        sizes = pc.list_value_length(lists["neighbours"]).to_numpy()
        flat = pa.table(
            {
                "edge_type": lists["edge_type"].take(pa.array(np.repeat(np.arange(len(lists)), sizes))),
                "src": np.repeat(lists["src"].to_numpy(), sizes),
                "dst": pc.list_flatten(lists["neighbours"]),
            }
        )
        rows, cols = _numbered(flat, starts)
        weights = pc.list_flatten(lists["weights"]).to_numpy().astype(np.float64)
        yield carried_vectors(
            known_ND, sp.csr_matrix((weights, (rows, cols)), shape=(starts[-1], starts[-1]))
        )


def _known_vectors(last: LastModel, starts: list[int]) -> Array:
    """The last model's node vectors, rows of zeros for nodes that are new since. Raises LakeError."""
    file = last.folder / "interest.safetensors"
    if not file.exists():
        raise LakeError(
            f"{file}: is missing, so this night cannot build on that of {last.ds}; publish it again"
        )
    tensors = load_file(file)
    known_ND = np.zeros((starts[-1], tensors["user"].shape[1]))
    for kind, start, end in zip(NODE_TYPES, starts, starts[1:], strict=False):
        rows = tensors[kind][: end - start]
        known_ND[start : start + len(rows)] = rows
    return known_ND


def _numbered(edges: pa.Table, starts: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source and target of each edge, all nodes numbered through."""
    types = edges["edge_type"].combine_chunks().dictionary_encode()
    start_of = dict(zip(NODE_TYPES, starts, strict=False))
    ends = [name.split("_") for name in types.dictionary.to_pylist()]
    codes = types.indices.to_numpy()
    first, second = (np.array([start_of[end[side]] for end in ends], np.int64)[codes] for side in (0, 1))
    return first + edges["src"].to_numpy(), second + edges["dst"].to_numpy()


def _rows(
    ds: date, as_of: date, starts: list[int], degree_N: NDArray[np.int64], units_ND: Array, norms_N: Array
) -> pa.Table:
    seen = np.flatnonzero((degree_N > 0) & (norms_N > 0))
    kinds = np.searchsorted(starts, seen, side="right") - 1
    flat = pa.array(units_ND[seen].ravel(), pa.float32())
    table = {
        "ds": pa.array(np.full(len(seen), np.datetime64(ds)), pa.date32()),
        "as_of": pa.array(np.full(len(seen), np.datetime64(as_of)), pa.date32()),
        "node_type": pa.array(np.array(NODE_TYPES)[kinds], pa.string()),
        "id": pa.array(seen - np.array(starts)[kinds], pa.int32()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, units_ND.shape[1]).cast(pa.list_(pa.float32())),
        "norm": pa.array(norms_N[seen], pa.float32()),
        "degree": pa.array(degree_N[seen], pa.int32()),
    }
    return pa.table(table, schema=TABLES["interest_vectors"].arrow_schema)


if __name__ == "__main__":
    main(run)
