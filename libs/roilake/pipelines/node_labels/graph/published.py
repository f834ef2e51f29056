"""The graph of a published night of the retrieval pipeline -> rows of nodes and of edges by key."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.ingest import SourceRows, mapped, texts
from roilake.pipelines.node_labels.config import PublishedGraph
from roilake.runtime.step import Recorder

UPSTREAM = "retrieval"


def published_nodes(record: Recorder, given: PublishedGraph) -> DataFrame:
    """(node_type, key, label, features, sought) of the last night of ``retrieval`` up to this one. What a node has are
    its type, its fields but for those that tell the label, and the words of its text."""
    nodes = _night(record, "nodes")
    sought = F.col("node_type") == given.node_type
    source = SourceRows(f"{record.lake.path}/nodes", nodes.select("key", "fields", "terms", "title"))
    label = texts(source.rows, mapped(source, "graph.retrieval", {"label": given.label}))["label"]
    hidden = F.when(sought, F.array(*map(F.lit, given.hides))).otherwise(F.array())
    columns = F.when(sought, label).alias("label"), _features(hidden).alias("features"), sought.alias("sought")
    return nodes.select("node_type", "key", *columns)


def published_edges(record: Recorder, given: PublishedGraph) -> DataFrame:
    """(source_type, source_key, target_type, target_key) of the same night, as of its end. Raises LakeError where it
    has no list of an edge type."""
    known = _night(record, "nodes").select("node_type", "id", "key")
    edges = _edges(record, _night(record, "adjacency"), given)
    for side in ("source", "target"):
        ends = known.select(*(F.col(name).alias(f"{side}_{name}") for name in known.columns))
        named = ends.withColumnRenamed(f"{side}_node_type", f"{side}_type")
        edges = edges.join(named, on=[f"{side}_type", f"{side}_id"], how="inner")
    return edges.select("source_type", "source_key", "target_type", "target_key")


def _night(record: Recorder, table: str) -> DataFrame:
    """The rows of a table that the upstream's night published."""
    found = record.upstream(UPSTREAM, table)
    if found is None:
        raise LakeError(
            f"graph.retrieval: no night of {UPSTREAM} with table {table} is published up to {record.run.ds}"
        )
    return record.lake.read(table, version=found.versions[table]).where(F.col("ds") == F.lit(found.ds))


def _features(hidden: Column) -> Column:
    fields = F.filter(F.map_entries("fields"), lambda entry: ~F.array_contains(hidden, entry["key"]))
    return F.concat(
        F.array(F.concat(F.lit("type="), "node_type")),
        F.transform(fields, lambda entry: F.concat(entry["key"], F.lit("="), F.coalesce(entry["value"], F.lit("")))),
        F.transform("terms", lambda word: F.concat(F.lit("word:"), word)),
    )


def _edges(record: Recorder, lists: DataFrame, given: PublishedGraph) -> DataFrame:
    """(source_type, source_id, target_type, target_id) of the lists of the newest instant."""
    newest = lists.agg(F.max("as_of")).collect()[0][0]
    own = lists.where((F.col("as_of") == F.lit(newest)) & F.col("edge_type").isin(*given.edge_types))
    there = {row["edge_type"] for row in own.select("edge_type").distinct().collect()}
    missing = [kind for kind in given.edge_types if kind not in there]
    if missing:
        raise LakeError(
            f"graph.retrieval.edge_types: the night of {UPSTREAM} has no list of {missing[0]!r} at its end; there are "
            f"{', '.join(sorted(there)) or 'none of these'}"
        )
    record.progress(f"graph of {UPSTREAM} as of {newest}")
    types = F.split("edge_type", "_")
    return own.select(
        types[0].alias("source_type"),
        F.col("src").alias("source_id"),
        types[1].alias("target_type"),
        F.explode("neighbours").alias("target_id"),
    )
