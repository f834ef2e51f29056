"""Distributions by Spark's tasks: the bits of those in memory, whatever the cut."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.lake import Lake, Run
from roilake.pipelines.node_labels.distribution import build, layout
from roilake.pipelines.node_labels.distribution.build import Distributed, distribute, distribute_in_memory
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.surroundings import Distribution
from tests.node_labels.distribution.reference import feature_rows, random_graph

DS = date(2020, 1, 10)
NODES, RULES = 400, DistributionRules(landmarks=20, anchors=33)


def frames(spark: SparkSession, edge_2E: np.ndarray, features: list[list[int]]) -> tuple[DataFrame, DataFrame]:
    """Nodes without features are not there, or null."""
    edges = pd.DataFrame(edge_2E.T, columns=["src", "dst"])
    some = pd.DataFrame([(node, own or None) for node, own in enumerate(features) if own or node % 2])
    some.columns = ["node", "features"]
    return (
        spark.createDataFrame(edges, "src int, dst int"),
        spark.createDataFrame(some, "node int, features array<int>"),
    )


def written(lake: Lake, run: Run, found: Distributed) -> pa.Table:
    """What the lake holds of it, by node."""
    versions = lake.write_from_tasks(["node_distributions"], found.tasks, found.make(DS), where={"ds": DS}, run=run)
    return lake.to_arrow("node_distributions", versions["node_distributions"]).sort_by("node")


def assert_rows_are(rows: pa.Table, expected: Distribution) -> None:
    assert rows["ds"].unique().to_pylist() == [DS]
    assert rows["node"].to_pylist() == list(range(len(expected.degree_N)))
    np.testing.assert_array_equal(rows["degree"], expected.degree_N)
    arrays = {"topology": expected.topology_NM, "position": expected.position_NS, "similarity": expected.similarity_NC}
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.array(rows[name].to_pylist(), np.float32), array, name)


def test_tasks_give_the_bits_of_memory(
    lake: Lake, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edge_2E, features = random_graph(NODES, 3000, seed=3)
    edges, owned = (frame.repartition(3) for frame in frames(lake.spark, edge_2E, features))
    monkeypatch.setattr(layout, "_WORTH", 2000)
    monkeypatch.setattr(build, "_RANGE", 8_000)
    found = distribute(lake.spark, edges, owned, NODES, RULES, tmp_path)
    assert len(found.ranges) > 2
    expected = distribute_in_memory(edge_2E, feature_rows(features), NODES, RULES)
    assert_rows_are(written(lake, make_run(), found), expected)
    columns = "degree", F.element_at("topology", 1).alias("first"), F.size("position").alias("anchors")
    first = lake.read("node_distributions").where("node = 8").select(*columns).first()
    assert tuple(first) == (expected.degree_N[8], expected.topology_NM[8, 0], RULES.anchors)  # Spark reads it, too


def test_a_graph_without_edges_or_features_has_rows(lake: Lake, make_run: Callable[..., Run], tmp_path: Path) -> None:
    edges, features = frames(lake.spark, np.array([[1], [1]]), [[], [], []])
    found = distribute(lake.spark, edges.where(F.lit(False)), features, 3, RULES, tmp_path)
    expected = distribute_in_memory(np.zeros((2, 0), np.int32), feature_rows([[], [], []]), 3, RULES)
    assert_rows_are(written(lake, make_run(), found), expected)


def test_an_edge_to_no_node_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    edges, features = frames(spark, np.array([[0], [5]]), [[], []])
    with pytest.raises(LakeError, match="5 is no node"):
        distribute(spark, edges, features, 2, RULES, tmp_path)
