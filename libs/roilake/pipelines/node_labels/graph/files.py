"""Files of nodes and edges -> rows of nodes and of edges by key, each accounted for."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest import map_rows, mapped, read_source, take, trimmed, with_reason
from roilake.pipelines.node_labels.config import LabelGraphConfig, NodeFile

NODE = "node"
"""The type of all nodes of files."""
TWICE, STRANGER = "repeats a key", "names a node that graph.nodes does not have"


def source_rows(spark: SparkSession, given: LabelGraphConfig) -> DataFrame:
    """Rows of both files, with ``source`` (nodes or edges), ``row`` and ``reason`` (see ``roilake.ingest.rows``): nodes
    have key, label and features, edges have source_key and target_key. Of several nodes of one key, that whose row
    sorts first is taken. An edge of a node that is not there is rejected; doubles and loops are sound, and count
    once, and not at all."""
    if given.nodes is None or given.edges is None:
        raise SourceError("graph: has no files")
    nodes = _nodes(spark, given.nodes)
    keys = nodes.where(F.col("reason").isNull()).select("key")
    return nodes.unionByName(_edges(spark, given, keys), allowMissingColumns=True)


def _nodes(spark: SparkSession, given: NodeFile) -> DataFrame:
    files = read_source(spark, given)
    rows = map_rows(
        files,
        "nodes",
        "graph.nodes",
        {"key": given.key, "label": given.label},
        identity="key",
        identified_by=(),
        required=("key",),
        derived={"features": _features(mapped(files, "graph.nodes", {"features": given.features or "array()"}))},
    )
    first = F.row_number().over(Window.partitionBy("key").orderBy("corrupt", "row"))
    again = F.col("key").isNotNull() & (F.col("order") > 1)
    found = with_reason(rows.withColumn("order", first), ("key",), [(again, TWICE)], ("key",))
    return take(found.drop("order"), {})


def _features(columns: dict[str, Column]) -> Column:
    """Distinct texts without the blanks at their ends, of an array of any type."""
    texts = F.transform(columns["features"].cast("array<string>"), trimmed)
    return F.array_distinct(F.filter(F.coalesce(texts, F.array()), lambda text: text != "")).alias("features")


def _edges(spark: SparkSession, given: LabelGraphConfig, keys: DataFrame) -> DataFrame:
    assert given.edges is not None
    rows = map_rows(
        read_source(spark, given.edges),
        "edges",
        "graph.edges",
        {"source_key": given.edges.source, "target_key": given.edges.target},
        identity="edge",
        identified_by=("source_key", "target_key"),
        required=("source_key", "target_key"),
    ).drop("edge")
    for side in ("source_key", "target_key"):
        known = keys.select(F.col("key").alias(side), F.lit(True).alias(f"knows_{side}"))
        rows = rows.join(known, on=side, how="left")
    ends = ("source_key", "target_key")
    strange = F.col("knows_source_key").isNull() | F.col("knows_target_key").isNull()
    found = with_reason(rows, ends, [(strange, STRANGER)], ends).drop("knows_source_key", "knows_target_key")
    return take(found, {})
