"""What stops a night of conversion models: bounds on what it does not measure, leaks, and readers of the truth."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from roilake.lake import Lake
from roilake.metrics.gates import Measured
from roilake.pipelines.conversion.evaluation.checks import (
    check_metrics,
    impossible_labels,
    readers_of_truth,
    shared_impressions,
)
from tests.conversion.small import DS, generated_night, log_of, night_of


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"metric": "auc", "minimum": 0.5}, r"slice: the night has no slice 'all' of auc on split test; .*clicked"),
        ({"metric": "hit_rate@5", "minimum": 0.5}, "metric: the night has no metric 'hit_rate@5' on split test"),
        ({"metric": "ctr_auc", "model": "x", "minimum": 0.5}, "model: the night has no model 'x'"),
        (
            {"metric": "calibration_ratio", "slice": "clicked", "not_worse_than": "last"},
            "calibration_ratio has no better side",
        ),
    ],
)
def test_bounds_name_what_the_night_measures(bound: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generated_night(gates={"bounds": [bound]})
    fits = {"metric": "auc", "split": "unbiased", "minimum": 0.5}
    apart = {**fits, "slice": "delta_vs_default on unclicked"}
    assert len(generated_night(gates={"bounds": [fits, apart]}).gates.bounds) == 2


def test_a_night_without_random_pairs_has_no_bound_on_them(tmp_path: Path) -> None:
    gates = {"bounds": [{"metric": "auc", "split": "unbiased", "minimum": 0.5}]}
    with pytest.raises(ValueError, match="split: the night has no split 'unbiased'; there are validation, test"):
        night_of(tmp_path, log_of(rows=20), gates=gates)


def impressions(rows: list[dict[str, Any]], spark: Any) -> Any:
    usual = {"split": "test", "click": 1, "conversion": 0, "delay_seconds": None, "time": "1998-03-28 12:00:00"}
    schema = "impression_id string, split string, click int, conversion int, delay_seconds double, time string"
    full = [{"impression_id": f"i{n}", **usual, **row} for n, row in enumerate(rows)]
    frame = spark.createDataFrame(full, schema)
    return frame.withColumn("time", frame["time"].cast("timestamp"))


def test_impossible_labels_are_found(lake: Lake) -> None:
    midnight = datetime.combine(DS + timedelta(days=1), time(), UTC)
    sound = [{}, {"conversion": 1, "delay_seconds": 10.0}, {"click": 0, "conversion": None}]
    drawn = {"split": "unbiased", "click": None, "conversion": 1}
    assert list(impossible_labels(impressions([*sound, drawn], lake.spark), midnight)) == []
    bad = [
        {"click": 0, "conversion": 1}, {"conversion": None}, {"click": 2},
        {"conversion": 1, "delay_seconds": 43200.0},
    ]  # fmt: skip
    assert list(impossible_labels(impressions([*sound, *bad], lake.spark), midnight)) == [
        "impressions: 1 conversions without a click, must be 0",
        "impressions: 1 clicks whose conversion is unknown, must be 0",
        "impressions: 1 labels that are neither 0 nor 1, must be 0",
        "impressions: 1 conversions from 1998-03-29 on, must be 0",
    ]


def test_impressions_of_two_splits_and_doubles_are_found(lake: Lake) -> None:
    rows = [
        {"impression_id": "a", "split": "train"}, {"impression_id": "a"}, {"impression_id": "b"},
        {"impression_id": "b"}, {"impression_id": "c"},
    ]  # fmt: skip
    assert list(shared_impressions(impressions(rows, lake.spark))) == [
        "impressions: 1 impression ids twice in test, must be 0",
        "impressions: 1 impression ids both in test and in train, must be 0",
    ]


def test_whoever_reads_the_truth_is_named() -> None:
    inputs = {"train_cvr": {"impressions": 1, "conversion_truth": 1}, "evaluate_conversions": {"conversion_truth": 1}}
    assert list(readers_of_truth(inputs)) == ["train_cvr: read conversion_truth, which only evaluate_conversions may"]


def test_an_auc_of_few_conversions_is_no_leak() -> None:
    def row(n: int, metric: str = "auc", name: str = "clicked") -> dict[str, Any]:
        place = {"model": "a", "split": "test", "slice": name, "metric": metric, "n": n}
        return {**place, "value": 1.0, "low": 1.0, "high": 1.0}

    def leaks(*rows: dict[str, Any]) -> list[bool]:
        return [r.passed for r in check_metrics(Measured.of(DS, rows)) if r.gate == "leak"]

    assert leaks(row(9)) == [] and leaks(row(10)) == [False]
    assert leaks(row(500, "ctr_auc", "all"), row(500, "ctcvr_auc", "all")) == [False, False]
