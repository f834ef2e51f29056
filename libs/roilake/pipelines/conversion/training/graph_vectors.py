"""Vectors of users and items that a published graph model holds, by the categories that impressions know them by."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from roilake.errors import LakeError
from roilake.lake import Lake, Publication, check_folder
from roilake.pipelines.conversion.config import GraphVectors
from roilake.pipelines.conversion.impressions.ingest import categories_of
from roilake.pipelines.retrieval.training.artifacts import INTEREST
from roilake.runtime.kinds import GRAPH, kind_of
from roilake.runtime.step import Recorder

FIELDS = ("user", "item")


def write_graph_vectors(graph: GraphVectors, first: date, folder: Path, record: Recorder) -> Path:
    """Write ``graph.safetensors``: ``FIELD.categories`` [K] int32 and ``FIELD.vectors`` [K, V] float32 of the nodes of
    the last night that the lake published before ``first``, the day of the first impression learnt from. So no vector
    has seen an outcome that it helps to predict. Raises LakeError where there is no such night, model or vector."""
    lake = Lake(None, check_folder(graph.lake, create=False))
    night = _night(lake, first)
    vectors = _vectors(lake, night, graph.model)
    tensors: dict[str, NDArray] = {}
    for field in FIELDS:
        where = {"ds": night.ds, "node_type": field}
        nodes = lake.to_arrow("nodes", night.versions["nodes"], filters=where, columns=("id", "key"))
        ids = nodes["id"].to_numpy().astype(np.int64)
        known = ids < len(vectors[field])
        tensors[f"{field}.categories"] = categories_of(
            field, nodes["key"].to_numpy(zero_copy_only=False)[known]
        )
        tensors[f"{field}.vectors"] = np.ascontiguousarray(vectors[field][ids[known]], dtype=np.float32)
    record.details["graph"] = f"{graph.model}@{night.ds}/{night.run_id}"
    record.progress(
        f"vectors of {record.details['graph']}: {', '.join(f'{len(vectors[f]):,} {f}s' for f in FIELDS)}"
    )
    path = folder / "graph.safetensors"
    save_file(tensors, path)
    return path


def _night(lake: Lake, first: date) -> Publication:
    nights = [night for night in lake.publications() if kind_of(json.loads(night.config)) is GRAPH]
    before = [night for night in nights if night.ds < first]
    if before:
        return before[-1]
    there = f"its first is of {nights[0].ds}" if nights else "it has published no night of graph models"
    raise LakeError(
        f"training.graph.lake: {lake.path}: no night before {first}, the day of the first impression learnt from "
        f"({there}): a later model has seen what it would help to predict"
    )


def _vectors(lake: Lake, night: Publication, model: str) -> dict[str, NDArray]:
    rows = lake.to_arrow("models", night.versions["models"], filters={"ds": night.ds, "run_id": night.run_id})
    paths = {row["name"]: lake.folder / row["path"] / INTEREST for row in rows.to_pylist()}
    making = sorted(name for name, path in paths.items() if path.exists())
    if model not in making:
        raise LakeError(
            f"training.graph.model: night {night.ds} of {lake.path} has no vectors of a model {model!r}; there are "
            f"those of {', '.join(making) or 'none'}"
        )
    return load_file(paths[model])
