"""All metrics of a Spark table in one call: what ``measure_arrays`` gives, whatever the partitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from roilake.errors import MetricError
from roilake.metrics import Columns, measure_arrays, measure_table, table_scores
from tests.metrics.labelled import METRICS, labelled

COLUMNS = Columns(other="others", weight="weight", request="request", item="item")


def frame(spark: SparkSession, rows: dict[str, Any]) -> DataFrame:
    flat = {name.removesuffix("s") if name != "others" else name: rows[name] for name in list(rows)[:7]}
    return spark.createDataFrame(pd.DataFrame({**flat, "half": np.where(rows["users"] < 8, "a", None)}))


def test_a_table_gives_what_arrays_give(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_scores, "RANGE", 60)  # ten ranges of the scores
    rows = labelled()
    items = [(i, float(e), v.tolist()) for i, (e, v) in enumerate(zip(rows["events"], rows["vectors"], strict=True))]
    catalogue = spark.createDataFrame(items, "item long, events double, vector array<double>")
    table = frame(spark, rows).repartition(3)
    found = measure_table(table, METRICS, columns=COLUMNS, slices=["half"], catalogue=catalogue).to_pylist()
    ours = {(row["model"], row["slice"], row["metric"]): row for row in found}
    assert len(ours) == 3 * 3 * len(METRICS)
    for name, mask in {"all": rows["users"] >= 0, "half=a": rows["users"] < 8, "half=none": rows["users"] >= 8}.items():
        part = {key: rows[key][mask] if len(rows[key]) == len(mask) else rows[key] for key in rows}
        paired = measure_arrays(**part, metrics=METRICS)
        first = measure_arrays(**{k: v for k, v in part.items() if k != "others"}, metrics=METRICS)
        for model, expected in (("score", first), ("score minus others", paired)):
            for metric, estimate in expected.items():
                row = ours[model, name, metric]
                known = [np.nan if row[key] is None else row[key] for key in ("value", "low", "high", "n")]
                wanted = [estimate.value, estimate.low, estimate.high, estimate.n]
                np.testing.assert_allclose(known, wanted, atol=1e-9, rtol=0, err_msg=f"{model} {name} {metric}")
    for row in measure_table(table, ["coverage@5"], columns=COLUMNS, catalogue=catalogue).to_pylist():
        assert row["value"] == pytest.approx(ours[row["model"], "all", "coverage@5"]["value"], abs=1e-9)


def test_bad_tables_are_refused(spark: SparkSession) -> None:
    rows = labelled(n=60)
    table = frame(spark, rows)
    for change, metric, says in (
        ("double('nan') AS score", "auc", "scores must be finite: 60 of 60 rows"),
        ("CAST(NULL AS double) AS score", "auc", "scores must be finite: 60 of 60 rows"),
        ("label + 1 AS label", "auc", "labels must be 0 or 1"),
        ("-1.0D AS weight", "auc", "weights must be finite and not negative: 60 of 60 rows"),
        ("score + 1 AS score", "brier", r"probabilities must lie in \[0, 1\]: 60 of 60 rows"),
        ("1L AS item", "recall@5", "has item 1 twice: a candidate is duplicated"),
        ("item AS user", "recall@5", "differ in their user"),
        ("score AS s", "auc", "no column score"),
        ("score", "coverage@5", "needs a catalogue"),
        ("score", "recal@5", "unknown metric"),
    ):
        dropped = change.split(" ")[-1] if " AS " in change else change
        kept = [name for name in table.columns if name != ("score" if dropped == "s" else dropped)]
        with pytest.raises(MetricError, match=says):
            measure_table(table.selectExpr(*kept, change), [metric], columns=COLUMNS)


def test_one_class_or_no_row_is_null(spark: SparkSession) -> None:
    table = spark.createDataFrame([(1, 1, 0.5), (2, 1, 0.7)], "user int, label int, score double")
    (row,) = measure_table(table, ["auc"]).to_pylist()
    assert (row["value"], row["low"], row["n"]) == (None, None, 2)
    for row in measure_table(table.where("false"), ["auc", "log_loss"]).to_pylist():
        assert (row["slice"], row["value"], row["low"], row["n"]) == ("all", None, None, 0)
