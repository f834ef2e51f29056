"""A night whose graph no process may hold: laid out on disk, trained on trees, scored by tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.node_labels import train_node_labels
from roilake.errors import ConfigError
from roilake.lake import Lake
from roilake.metrics.slices import ALL
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.training.inputs import read_graph
from roilake.pipelines.node_labels.training.night import Trained, lay_out
from roilake.reading import read
from roilake.runtime.night import run_night
from roilake.runtime.step import StepResult, recorded
from tests.node_labels.small import DS, NODES, night_of, write_graph

TREES = {"fan_out": [20, 20, 20], "batch": 16, "passes": 10}
SMALL = 1e-6  # GB
Night = tuple[Lake, NodeLabelsConfig, dict[str, StepResult]]


@pytest.fixture(scope="module")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder: Path = tmp_path_factory.mktemp("labels")
    write_graph(folder)
    lake = Lake.open(spark, folder / "lake", create=True)
    config = night_of(folder, training={"memory_gb": SMALL, "trees": TREES})
    return lake, config, {result.step: result for result in run_night(lake, config, DS)}


def test_it_is_published_and_has_learnt(night: Night) -> None:
    lake, config, results = night
    assert lake.publication("node_labels") is not None
    metrics = lake.to_arrow("metrics", lake.version("metrics")).to_pylist()
    accuracy = {
        row["model"]: row["value"] for row in metrics
        if (row["split"], row["slice"], row["metric"]) == ("test", ALL, "accuracy")
    }  # fmt: skip
    assert accuracy.keys() == config.models.keys() and min(accuracy.values()) > 0.7
    assert results["score_nodes"].rows_in == results["score_nodes"].rows_out == NODES


def test_labels_are_those_of_the_trained_model_and_counted(night: Night) -> None:
    lake, config, results = night
    rows = read("node_predictions", lake=lake.path)
    counts = results["score_nodes"].details["labels"]
    assert counts["all"] == rows["label"].value_counts().to_dict()
    assert counts["unknown"] == rows[rows["known"].isna()]["label"].value_counts().to_dict()
    (row,) = (row for row in lake.to_arrow("models", lake.version("models")).to_pylist() if row["name"] == "mwgnn")
    trained = Trained.read(Path(lake.files.local(row["path"])))
    assert trained.trees == {"fan_out": [20, 20, 20], "batch": 16, "seed": config.seed}


def test_what_lies_on_disk_is_the_graph(night: Night, tmp_path: Path) -> None:
    """All neighbours are drawn here, so a model gives each node what it gives it in the whole graph."""
    lake, config, _ = night
    (row,) = (row for row in lake.to_arrow("models", lake.version("models")).to_pylist() if row["name"] == "mwgnn")
    trained = Trained.read(Path(lake.files.local(row["path"])))
    with recorded(lake, config, DS, "score_nodes") as record:
        every = {**trained.trees, "fan_out": [NODES] * 3} if trained.trees else None
        trees, whole = lay_out(record, config, NODES, every, tmp_path)(), read_graph(record)
    assert trees.neighbours.ids_E.tolist() == whole.neighbours.ids_E.tolist()
    node_M = np.arange(NODES)
    found, expected = (trained.probabilities(trained.model(each), each, node_M) for each in (trees, whole))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_graph_that_may_not_be_cut_up_is_refused_before_training(night: Night) -> None:
    lake, config, _ = night
    training = config.training.model_copy(update={"trees": config.training.trees.model_copy(update={"use": "never"})})
    with pytest.raises(ConfigError, match=r"training: mwgnn on the whole graph \(120 nodes, .* more than 0.0: say"):
        train_node_labels.run(lake, config.model_copy(update={"training": training}), DS)
