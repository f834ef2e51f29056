"""Reads from a night's tables what its slices ask for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.config import SliceConfig


def field_values(nodes: pa.Table, name: str) -> NDArray[np.object_]:
    """Value of a field by node id (None where unknown), from rows (id, fields) of one node type."""
    ids = nodes["id"].to_numpy()
    values = np.full(int(ids.max(initial=-1)) + 1, None, dtype=object)
    values[ids] = pc.map_lookup(nodes["fields"], name, "first").to_numpy(zero_copy_only=False)
    return values


def fields_of(slices: Collection[SliceConfig]) -> set[tuple[str, str]]:
    """(node type, field) of every slice by a field."""
    return {(cut.by, cut.field) for cut in slices if cut.field is not None}


def links(edges: DataFrame, positives: pa.Table) -> pa.Table:
    """Edge types that linked a positive to its request as of the window: from its user, its query, or the item that the
    user chose last before the window. ``positives`` has columns as_of, request, user, query, item; ``edges`` are rows
    of that table of these windows. Gives distinct (request, item, edge_type)."""
    wanted = edges.sparkSession.createDataFrame(positives)
    ours = F.broadcast(wanted.select("as_of", F.col("user").alias("src")).distinct())
    choices = edges.where(F.col("edge_type") == "user_item").join(ours, on=["as_of", "src"], how="left_semi")
    last = F.max_by("dst", F.struct("last_time", "dst")).alias("recent")
    recent = choices.groupBy("as_of", F.col("src").alias("user")).agg(last)
    sources = F.explode(
        F.array(
            F.struct(F.lit("user").alias("type"), F.col("user").alias("src")),
            F.struct(F.lit("query").alias("type"), F.col("query").alias("src")),
            F.struct(F.lit("item").alias("type"), F.col("recent").alias("src")),
        )
    )
    pairs = (
        wanted.join(F.broadcast(recent), on=["as_of", "user"], how="left")
        .select("as_of", "request", F.col("item").alias("dst"), sources.alias("source"))
        .select("as_of", "request", "dst", "source.type", "source.src")
    )
    ends = F.split("edge_type", "_")  # SOURCE_TARGET or SOURCE_TARGET_similar
    typed = edges.where(ends[1] == "item").withColumn("type", ends[0])
    same = ["as_of", "type", "src", "dst"]
    found = typed.join(F.broadcast(pairs), on=same, how="inner")
    return found.select("request", F.col("dst").alias("item"), "edge_type").distinct().toArrow()
