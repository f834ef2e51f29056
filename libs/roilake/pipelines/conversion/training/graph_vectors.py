"""Vectors of users and items from a published night of the retrieval pipeline, by node id, as impressions name them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.pipelines.conversion.config import GraphVectors
from roilake.runtime.step import Recorder
from roilake.runtime.upstreams import described

UPSTREAM = "retrieval"
FIELDS = ("user", "item")
VECTORS = "interest.safetensors"
"""In the folder of a retrieval model that makes vectors: one [N, V] by node type, row n for node n."""


def write_graph_vectors(graph: GraphVectors, first: date, folder: Path, record: Recorder) -> Path:
    """Write ``graph.safetensors``: ``FIELD.categories`` [K] int32 (node ids) and ``FIELD.vectors`` [K, V] float32 of
    the nodes of the last retrieval night that the lake published before ``first``, the day of the first impression
    learnt from. So no vector has seen an outcome that it helps to predict. Raises LakeError where there is no such
    night, model or vector."""
    lake = record.lake
    night = _night(lake, first)
    vectors = _vectors(lake, night, graph.model)
    tensors: dict[str, NDArray] = {}
    for field in FIELDS:
        where = {"ds": night.ds, "node_type": field}
        ids = lake.to_arrow("nodes", night.versions["nodes"], filters=where, columns=["id"])["id"].to_numpy()
        known = np.sort(ids[ids < len(vectors[field])]).astype(np.int32)
        tensors[f"{field}.categories"] = known
        tensors[f"{field}.vectors"] = np.ascontiguousarray(vectors[field][known], dtype=np.float32)
    record.upstreams[UPSTREAM] = described(night, "models", "nodes")
    record.details["graph"] = f"{graph.model}@{night.ds}/{night.run_id}"
    counts = ", ".join(f"{len(tensors[f'{field}.categories']):,} {field}s" for field in FIELDS)
    record.progress(f"vectors of {record.details['graph']}: {counts}")
    path = folder / "graph.safetensors"
    save_file(tensors, path)
    return path


def _night(lake: Lake, first: date) -> Publication:
    found = lake.publication(UPSTREAM, before=first)
    if found is None:
        raise LakeError(
            f"training.graph: {lake.path}: no {UPSTREAM} night is published before {first}, the day of the first "
            "impression learnt from, and a later model has seen what it would help to predict; run one first: "
            f"roilake night --conf conf/nights/{UPSTREAM}/YOURS.yaml --ds DAY --lake {lake.path}"
        )
    return found


def _vectors(lake: Lake, night: Publication, model: str) -> dict[str, NDArray]:
    """By node type, [N, V]."""
    where = {"pipeline": UPSTREAM, "ds": night.ds}
    rows = lake.to_arrow("models", night.versions["models"], filters=where, columns=["name", "path"]).to_pylist()
    files = {row["name"]: f"{row['path']}/{VECTORS}" for row in rows}
    making = sorted(name for name, file in files.items() if lake.files.exists(file))
    if model not in making:
        raise LakeError(
            f"training.graph.model: {UPSTREAM} night {night.ds} has no vectors of a model {model!r}; there are "
            f"those of {', '.join(making) or 'none'}"
        )
    return load_file(lake.files.local(files[model]))
