"""Files of nodes and edges, or a published graph -> ``graph_nodes``, ``graph_features`` and ``graph_edges``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.ingest import Budget, accounted, count_keys, numbered
from roilake.lake import Lake
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.graph.files import NODE, source_rows
from roilake.pipelines.node_labels.graph.numbered import feature_names, pairs, with_features, with_split
from roilake.pipelines.node_labels.graph.published import PublishedNight
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

MOST_LABELS = 1000


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write the night's graph, whole. Raises AuditError, after writing ``quarantine``, when a file loses more rows than
    ``graph`` allows, and when no label is known, or one only."""
    with (
        recorded(lake, config, ds, "build_label_graph") as record,
        _graph(record, config) as (nodes, edges),
        numbered(nodes, "node", "node_type", "key") as rows,
    ):
        night, whole = F.lit(ds).alias("ds"), with_split(rows, config.split, config.seed)
        _check_labels(record, whole)
        with feature_names(whole, config.graph.minimum_nodes) as names:
            record.write("graph_features", names.select(night, "*"))
            columns = ("node", "node_type", "key", "label", "split", "features")
            record.write("graph_nodes", with_features(whole, names).select(night, *columns))
            record.write("graph_edges", pairs(edges, whole).select(night, "*"))
    return record.result


@contextmanager
def _graph(record: Recorder, config: NodeLabelsConfig) -> Iterator[tuple[DataFrame, DataFrame]]:
    """Nodes and edges by key."""
    given = config.graph
    if given.retrieval:
        night = PublishedNight.of(record, given.retrieval)
        nodes = night.nodes()
        record.rows_in = nodes.count()
        yield nodes, night.edges()
        return
    paths = {name: file.path for name, file in (("nodes", given.nodes), ("edges", given.edges)) if file}
    with accounted(record, source_rows(record.lake.spark, given), Budget("graph", given, paths)) as sound:
        nodes = sound.where("source = 'nodes'").select(F.lit(NODE).alias("node_type"), "key", "label", "features")
        count_keys(record, nodes, ("key",), given.minimum_keys)
        types = (F.lit(NODE).alias(f"{side}_type") for side in ("source", "target"))
        edges = sound.where("source = 'edges'").select(*types, "source_key", "target_key")
        yield nodes.withColumn("sought", F.lit(True)), edges


def _check_labels(record: Recorder, nodes: DataFrame) -> None:
    """Note how many nodes have each label, by split. Raises AuditError where there is nothing to learn, or too much."""
    different = nodes.agg(F.count_distinct("label").alias("labels")).collect()[0]["labels"]
    if different > MOST_LABELS:
        raise AuditError(
            f"graph: {different:,} different labels are known, at most {MOST_LABELS} can be learnt; map the label to "
            "fewer (bands of a number, groups of a category)"
        )
    known = nodes.where(F.col("label").isNotNull()).groupBy("split", "label").count().collect()
    found: dict[str, dict[str, int]] = {}
    for split, label, count in sorted(known):
        found.setdefault(split, {})[label] = count
    record.details["labels"] = found
    labels = {label for counts in found.values() for label in counts}
    if len(found.get("train", {})) < 2:
        raise AuditError(
            f"graph: {len(labels)} labels are known ({', '.join(sorted(labels)[:5]) or 'none'}), "
            f"{len(found.get('train', {}))} of them in split train: two are needed to tell apart; does the graph's "
            "label say what the nodes have?"
        )


if __name__ == "__main__":
    main(run, "node_labels")
