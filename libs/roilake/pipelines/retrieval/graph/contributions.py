"""Similar pairs -> the contributions that their edges sum up."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

EDGE_TYPES = (
    "user_query", "query_user", "user_item", "item_user", "query_item", "item_query",
    "item_item", "item_item_similar", "query_item_similar", "item_query_similar",
)  # fmt: skip
"""Contributions hold an edge type as its position here."""


def similarity_contributions(pairs: DataFrame) -> DataFrame:
    """(edge_type, src, dst, time, weight): ``time`` is when both nodes had been seen, ``weight`` does not decay."""
    codes = F.create_map(*(F.lit(part) for code, name in enumerate(EDGE_TYPES) for part in (name, code)))
    code = F.element_at(codes, F.col("edge_type"))
    return pairs.select(code.alias("edge_type"), "src", "dst", F.col("first_time").alias("time"), "weight")
