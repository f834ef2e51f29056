"""The nodes of a night: ids and attributes of all that its events name. Ids of other pipelines' users and items lie
between them in ``node_ids``; a night knows nothing of those."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.pipelines.retrieval.config import NODE_TYPES, PredictedLabels
from roilake.pipelines.retrieval.events import words

ATTRIBUTES = "node_type string, key string, fields map<string,string>, terms array<string>, title string"
"""Columns of what sources tell of nodes."""


def describe_nodes(ids: DataFrame, attributes: DataFrame, query_terms_from_key: bool) -> DataFrame:
    """(node_type, id, key, fields, terms, title, vector) of every id, and ``described``: 1 where a source knows it,
    else 0. No node has a vector yet. Nodes that no source describes have no fields, no terms and no title; with
    ``query_terms_from_key`` (no source for queries) the terms of a query are the words of its key."""
    own_words = F.when((F.col("node_type") == "query") & F.lit(query_terms_from_key), words(F.col("key")))
    no_fields = F.create_map().cast("map<string,string>")
    no_terms = F.array().cast("array<string>")
    return ids.join(attributes, on=["node_type", "key"], how="left").select(
        "node_type",
        "id",
        "key",
        F.coalesce("fields", no_fields).alias("fields"),
        F.coalesce(own_words, "terms", no_terms).alias("terms"),
        "title",
        F.lit(None).cast("array<float>").alias("vector"),
        F.col("fields").isNotNull().cast("int").alias("described"),
    )


def labels_of(predictions: DataFrame, given: PredictedLabels) -> DataFrame:
    """(node_type, key, label, source) of rows of ``node_predictions``: the known label, else the predicted one where it
    is likely enough; ``source`` is known or predicted."""
    likely = F.when(F.col("probability") >= given.least, F.col("label"))
    source = F.when(F.col("known").isNotNull(), "known").otherwise("predicted").alias("source")
    labels = predictions.select("node_type", "key", F.coalesce("known", likely).alias("label"), source)
    return labels.where(F.col("label").isNotNull())


def with_labels(described: DataFrame, labels: DataFrame, field: str) -> DataFrame:
    """Nodes whose ``fields`` hold their label (node_type, key, label) as ``field``, in place of one of that name."""
    others = F.map_filter("fields", lambda name, value: name != field)
    added = F.map_concat(others, F.create_map(F.lit(field), F.col("label")))
    fields = F.when(F.col("label").isNull(), F.col("fields")).otherwise(added)
    found = described.join(labels, on=["node_type", "key"], how="left")
    return found.withColumn("fields", fields).select(*described.columns)


def node_masks(lake: Lake, version: int, ds: date) -> dict[str, NDArray[np.bool_]]:
    """By node type: whether number i is the id of a node of night ``ds`` in this version of ``nodes``, up to the
    largest."""
    rows = lake.to_arrow("nodes", version, filters={"ds": ds}, columns=["node_type", "id"])
    types, ids = rows["node_type"].to_numpy(zero_copy_only=False), rows["id"].to_numpy()
    found = {}
    for node_type in NODE_TYPES:
        own = ids[types == node_type]
        found[node_type] = np.zeros(own.max(initial=-1) + 1, bool)
        found[node_type][own] = True
    return found
