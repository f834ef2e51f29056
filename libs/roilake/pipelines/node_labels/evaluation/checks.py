"""What is audited of a night before it is published, beside what every pipeline's is: no feature tells the label, and
every node has one label whose probabilities add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured, result_of
from roilake.metrics.leakage import check_shuffled
from roilake.metrics.night_tables import NightTables, counted_faults
from roilake.pipelines.node_labels.config import NodeLabelsConfig

TELLS = 0.99
"""A field or a feature that is right about the label for this share of the nodes is taken for the label itself."""
FEW = 10
"""Labelled nodes: of fewer, a feature may tell the label by chance."""


def filled(config: NodeLabelsConfig) -> list[str]:
    """Tables that the night must have rows of: a graph may be without edges, and nodes without features."""
    return ["graph_nodes", "node_distributions", "models", "champions", "metrics", "node_predictions"]


def checks(
    lake: Lake, config: NodeLabelsConfig, ds: date, versions: Mapping[str, int], now: Measured
) -> Iterator[GateResult]:
    """All checks of night ``ds`` at these table versions; ``now`` are its metrics."""
    night = NightTables(lake, config.pipeline, ds, versions)
    nodes, predicted = night.read("graph_nodes"), night.read("node_predictions")
    yield from check_shuffled(now, "evaluate_node_labels")
    yield result_of("no_feature_tells_the_label", telling(nodes, night.read("graph_features")), 3)
    yield result_of("nodes_predicted", unpredicted(nodes, predicted), 3)
    yield result_of("predictions_are_probabilities", odd_probabilities(predicted), 3)


def telling(nodes: DataFrame, features: DataFrame) -> Iterator[str]:
    """Features that are had by the nodes of one label, by all of them and by no others; and fields (NAME=VALUE) whose
    values tell the label of nearly every node that is not the only one with its value."""
    known = nodes.where(F.col("label").isNotNull()).select("label", F.explode("features").alias("feature"))
    labels = nodes.where(F.col("label").isNotNull()).groupBy("label").agg(F.count(F.lit(1)).alias("labelled"))
    counts = known.groupBy("feature", "label").agg(F.count(F.lit(1)).alias("both"))
    had = counts.groupBy("feature").agg(F.sum("both").alias("had"), F.max("both").alias("most"))
    named = had.join(features.select("feature", "name"), on="feature", how="inner")
    alone = (
        counts.join(labels, on="label", how="inner")
        .join(named.where(f"had >= {FEW}").drop("most"), on="feature", how="inner")
        .where((F.col("both") >= TELLS * F.col("had")) & (F.col("both") >= TELLS * F.col("labelled")))
    )
    for row in sorted(alone.select("name", "label", "both").collect()):
        yield f"graph_nodes: feature {row['name']!r} tells label {row['label']!r} ({row['both']} nodes); leave it out"
    field = F.regexp_extract("name", "^([^=]+)=", 1)
    fields = named.withColumn("field", field).where("field != ''").groupBy("field")
    sums = fields.agg(F.sum("had").alias("had"), F.sum("most").alias("most"), F.count(F.lit(1)).alias("values"))
    # The first node of a value tells nothing: any label is right about it.
    again = F.col("had") - F.col("values"), F.col("most") - F.col("values")
    for row in sorted(sums.where((again[0] >= FEW) & (again[1] >= TELLS * again[0]) & (F.col("values") > 1)).collect()):
        yield (
            f"graph_nodes: field {row['field']!r} tells the label of {row['most']} of {row['had']} nodes; name it in "
            "graph.retrieval.hides, or leave it out"
        )


def unpredicted(nodes: DataFrame, predicted: DataFrame) -> Iterator[str]:
    """Nodes of the labelled type without a prediction, and predictions of others."""
    sought = nodes.where(F.col("split") != "other").select("node_type", "key")
    pairs = (sought, predicted, "nodes without a prediction"), (predicted, sought, "predictions of no node")
    for left, right, fault in pairs:
        count = left.join(right, on=["node_type", "key"], how="left_anti").count()
        if count:
            yield f"node_predictions: {count} {fault}, must be 0"


def odd_probabilities(predicted: DataFrame) -> Iterator[str]:
    """Probabilities that are none, or do not add up to 1."""
    total = F.aggregate(F.map_values("probabilities"), F.lit(0.0), lambda total, each: total + each)
    faults = {
        "rows whose probabilities do not add up to 1": F.isnan(total) | (F.abs(total - 1) > 1e-6),
        "labels that are not the most probable": F.col("probability") < F.array_max(F.map_values("probabilities")),
    }
    return counted_faults("node_predictions", predicted, faults)
