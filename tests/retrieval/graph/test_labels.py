"""Labels that another pipeline predicted become a field of nodes."""

from __future__ import annotations

from pyspark.sql import SparkSession

from roilake.pipelines.retrieval.config import PredictedLabels
from roilake.pipelines.retrieval.graph.nodes import ATTRIBUTES, labels_of, with_labels

PREDICTIONS = "node_type string, key string, label string, probability double, known string"


def test_known_labels_and_likely_ones_are_fields(spark: SparkSession) -> None:
    predictions = spark.createDataFrame(
        [
            ("user", "told", "young", 0.9, "old"),
            ("user", "sure", "young", 0.8, None),
            ("user", "unsure", "young", 0.79, None),
            ("item", "sure", "film", 1.0, None),
        ],
        PREDICTIONS,
    )
    labels = labels_of(predictions, PredictedLabels(field="age", least=0.8))
    assert {(row["key"], row["label"], row["source"]) for row in labels.where("node_type = 'user'").collect()} == {
        ("told", "old", "known"), ("sure", "young", "predicted"),
    }  # fmt: skip
    nodes = spark.createDataFrame(
        [
            ("user", "told", {"age": "?", "city": "Rome"}, [], None),
            ("user", "sure", {}, [], None),
            ("user", "unsure", {"age": "?"}, [], None),
            ("user", "new", {"city": "Oslo"}, [], None),
        ],
        ATTRIBUTES,
    )
    found = with_labels(nodes, labels.drop("source"), "age")
    assert found.columns == nodes.columns
    assert {row["key"]: row["fields"] for row in found.collect()} == {
        "told": {"age": "old", "city": "Rome"},
        "sure": {"age": "young"},
        "unsure": {"age": "?"},
        "new": {"city": "Oslo"},
    }
