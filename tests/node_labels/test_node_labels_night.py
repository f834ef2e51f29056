"""A small night of node labels through all jobs: its tables, gates, page and readers, and the same night again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from roilake.lake import Lake, report_name
from roilake.metrics.slices import ALL
from roilake.pipelines.node_labels import PIPELINE
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.reading import read
from roilake.runtime.night import run_night
from roilake.runtime.step import StepResult
from tests.nights import check_declared, check_published
from tests.node_labels.small import DS, NODES, night_of, write_graph

GATES = {
    "shuffled_labels", "no_feature_tells_the_label", "nodes_predicted", "predictions_are_probabilities",
    "tables_filled", "steps_in_order", "rows_reconcile", "keys_kept", "models_evaluated",
}  # fmt: skip
Night = tuple[Lake, NodeLabelsConfig, dict[str, StepResult]]


@pytest.fixture(scope="module")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder: Path = tmp_path_factory.mktemp("labels")
    write_graph(folder)
    lake, config = Lake.open(spark, folder / "lake", create=True), night_of(folder)
    return lake, config, {result.step: result for result in run_night(lake, config, DS)}


def test_the_night_is_published_after_all_gates(night: Night) -> None:
    lake, _, results = night
    check_published(lake, PIPELINE, results, GATES)


def test_steps_read_and_write_what_they_declare(night: Night) -> None:
    check_declared(PIPELINE, night[2])


def test_every_node_has_a_label_and_its_probabilities(night: Night) -> None:
    lake, config, _ = night
    rows = read("node_predictions", lake=lake.path)
    assert len(rows) == NODES and set(rows["label"]) == {"even", "odd"}
    assert set(rows["model"]) <= {f"{model}@{DS}" for model in config.models}
    for label, known, probability, every, entropy in zip(
        rows["label"], rows["known"], rows["probability"], rows["probabilities"], rows["entropy"], strict=True
    ):
        likely = dict(every)
        assert set(likely) == {"even", "odd"} and sum(likely.values()) == pytest.approx(1)
        assert likely[label] == probability == max(likely.values())
        assert entropy == pytest.approx(-sum(p * np.log(p) for p in likely.values() if p))
        assert known in (None, "even", "odd")
    unknown = rows[rows["known"].isna()]
    assert len(unknown) == NODES // 10 and set(unknown["split"]) == {"unlabelled"}
    assert (unknown["label"] == "even").mean() > 0.7  # every tenth node is even


def test_models_have_learnt_from_neighbours_and_words(night: Night) -> None:
    lake, config, _ = night
    metrics = lake.to_arrow("metrics", lake.version("metrics")).to_pylist()
    accuracy = {
        row["model"]: row["value"] for row in metrics
        if (row["split"], row["slice"], row["metric"]) == ("test", ALL, "accuracy")
    }  # fmt: skip
    assert accuracy.keys() == config.models.keys() and min(accuracy.values()) > 0.7


def test_the_page_shows_labels_and_examples(night: Night) -> None:
    lake, _, _ = night
    page = Path(lake.files.local(report_name("node_labels", DS))).read_text()
    for text in (
        "The graph that labels are sought in",
        "even",
        "odd",
        "surest of",
        "Accuracy",
        "of all models on test nodes, by the share",
    ):
        assert text in page


def test_a_graph_without_edges_and_features_is_published(spark: SparkSession, tmp_path: Path) -> None:
    """All that edges.csv has is a loop, and one label is had by one node only."""
    (tmp_path / "edges.csv").write_text("a,b\nn1,n1\n")
    kinds = [("a", "b")[number % 2] for number in range(40)] + ["once"]
    (tmp_path / "nodes.csv").write_text("id,kind,words\n" + "".join(f"n{n},{kind},\n" for n, kind in enumerate(kinds)))
    lake = Lake.open(spark, tmp_path / "lake", create=True)
    run_night(lake, night_of(tmp_path, training={"steps": 4, "validate_every": 2}), DS)
    assert lake.publication("node_labels") is not None
    assert len(read("node_predictions", lake=lake.path)) == 41
    distributions = lake.to_arrow("node_distributions", lake.version("node_distributions"))
    assert distributions["degree"].to_pylist() == [0] * 41


def test_the_same_night_again_is_the_same_tables(night: Night) -> None:
    lake, config, results = night
    again = {result.step: result for result in run_night(lake, config, DS)}
    for step in PIPELINE.steps:
        assert again[step.name].outputs == results[step.name].outputs, step.name
