"""Features that tell the label are found before the night is published."""

from __future__ import annotations

from pyspark.sql import SparkSession

from roilake.pipelines.node_labels.evaluation.checks import odd_probabilities, telling

NODES = "label string, features array<int>"


def faults(spark: SparkSession, rows: list[tuple[str | None, list[int]]], names: list[str]) -> list[str]:
    features = spark.createDataFrame(list(enumerate(names)), "feature int, name string")
    return list(telling(spark.createDataFrame(rows, NODES), features))


def test_a_planted_label_is_found(spark: SparkSession) -> None:
    """Feature 0 is label x; feature 1 is what half of x and half of y have."""
    rows: list[tuple[str | None, list[int]]] = [("x", [0, n % 2]) for n in range(20)]
    rows += [("y", [n % 2]) for n in range(1, 21)] + [(None, [0, 1])] * 5
    found = faults(
        spark, [(label, sorted({*had} - {0} | ({0} if label == "x" else set()))) for label, had in rows], ["w", "v"]
    )
    assert found == ["graph_nodes: feature 'w' tells label 'x' (20 nodes); leave it out"]


def test_a_field_that_tells_the_label_is_found_and_one_that_does_not_is_not(spark: SparkSession) -> None:
    """Years tell the age group, though no year is all of a group; cities do not."""
    names = ["year=1980", "year=1981", "year=1990", "year=1991", "city=Rome", "city=Oslo"]
    rows: list[tuple[str | None, list[int]]] = [
        ("young" if year < 2 else "old", [year, 4 + (number % 2)]) for year in range(4) for number in range(12)
    ]
    found = faults(spark, rows, names)
    assert len(found) == 1 and "field 'year' tells the label of 48 of 48 nodes" in found[0]


def test_a_field_of_many_values_that_tells_the_label_is_found(spark: SparkSession) -> None:
    """Birth years of three nodes each; a key that each node has for itself tells nothing of another."""
    years = [f"born={year}" for year in range(20)] + [f"id={number}" for number in range(60)]
    rows: list[tuple[str | None, list[int]]] = [
        ("young" if number < 30 else "old", [number // 3, 20 + number]) for number in range(60)
    ]
    found = faults(spark, rows, years)
    assert len(found) == 1 and "field 'born' tells the label of 60 of 60 nodes" in found[0]


def test_few_nodes_may_be_alike_by_chance(spark: SparkSession) -> None:
    assert faults(spark, [("x", [0])] * 5 + [("y", [1])] * 5, ["w", "v"]) == []


def test_probabilities_that_do_not_add_up_are_found(spark: SparkSession) -> None:
    rows = [(0.6, {"a": 0.6, "b": 0.4}), (0.4, {"a": 0.6, "b": 0.4}), (0.6, {"a": 0.6, "b": 0.6})]
    predicted = spark.createDataFrame(rows, "probability double, probabilities map<string,double>")
    assert sorted(odd_probabilities(predicted)) == [
        "node_predictions: 1 labels that are not the most probable, must be 0",
        "node_predictions: 1 rows whose probabilities do not add up to 1, must be 0",
    ]
