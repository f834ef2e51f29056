"""The graph of a published night of the retrieval pipeline -> rows of nodes and of edges by key."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.ingest import SourceRows, mapped, texts
from roilake.lake import Publication
from roilake.pipelines.node_labels.config import PublishedGraph
from roilake.runtime.step import Recorder

UPSTREAM = "retrieval"


@dataclass(frozen=True)
class PublishedNight:
    """The last night of ``retrieval`` up to this one, looked up once."""

    record: Recorder
    night: Publication
    given: PublishedGraph

    @classmethod
    def of(cls, record: Recorder, given: PublishedGraph) -> PublishedNight:
        """Raises LakeError where there is none that has nodes and lists of neighbours."""
        found = [record.upstream(UPSTREAM, table) for table in ("nodes", "adjacency")]
        if found[0] is None or found[0] != found[1]:
            raise LakeError(f"graph.retrieval: no night of {UPSTREAM} with a graph is published up to {record.run.ds}")
        return cls(record, found[0], given)

    def nodes(self) -> DataFrame:
        """(node_type, key, label, features, sought). What a node has are its type, its fields but for those that tell
        the label, one that an earlier night's labels were fed back as among them, and the words of its text."""
        nodes, sought = self._read("nodes"), F.col("node_type") == self.given.node_type
        source = SourceRows(f"{self.record.lake.path}/nodes", nodes.select("key", "fields", "terms", "title"))
        label = texts(source.rows, mapped(source, "graph.retrieval", {"label": self.given.label}))["label"]
        fed_back = (json.loads(self.night.config).get("graph", {}).get("labels") or {}).get("field")
        hides = [*self.given.hides, *([fed_back] if fed_back else [])]
        hidden = F.when(sought, F.array(*map(F.lit, hides)).cast("array<string>")).otherwise(F.array())
        columns = F.when(sought, label).alias("label"), _features(hidden).alias("features"), sought.alias("sought")
        return nodes.select("node_type", "key", *columns)

    def edges(self) -> DataFrame:
        """(source_type, source_key, target_type, target_key), as of the night's end. Raises LakeError where it has no
        list of an edge type."""
        known = self._read("nodes").select("node_type", "id", "key")
        edges = _edges(self.record, self._read("adjacency"), self.given)
        for side in ("source", "target"):
            ends = known.select(*(F.col(name).alias(f"{side}_{name}") for name in known.columns))
            named = ends.withColumnRenamed(f"{side}_node_type", f"{side}_type")
            edges = edges.join(named, on=[f"{side}_type", f"{side}_id"], how="inner")
        return edges.select("source_type", "source_key", "target_type", "target_key")

    def _read(self, table: str) -> DataFrame:
        """The night's own rows."""
        rows = self.record.lake.read(table, version=self.night.versions[table])
        return rows.where(F.col("ds") == F.lit(self.night.ds))


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
