"""Ids and attributes -> the nodes of a night."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.events import words


def describe_nodes(ids: DataFrame, attributes: DataFrame, query_terms_from_key: bool) -> DataFrame:
    """(node_type, id, key, fields, terms) of every id. Nodes that no source describes have no fields and no
    terms; with ``query_terms_from_key`` (no source for queries) the terms of a query are the words of its
    key."""
    own_words = F.when((F.col("node_type") == "query") & F.lit(query_terms_from_key), words(F.col("key")))
    no_fields = F.create_map().cast("map<string,string>")
    no_terms = F.array().cast("array<string>")
    return ids.join(attributes, on=["node_type", "key"], how="left").select(
        "node_type",
        "id",
        "key",
        F.coalesce("fields", no_fields).alias("fields"),
        F.coalesce(own_words, "terms", no_terms).alias("terms"),
    )
