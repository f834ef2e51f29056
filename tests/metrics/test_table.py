"""All metrics of a Spark table in one call: what ``measure_arrays`` gives, whatever the partitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from pyspark.sql import DataFrame, SparkSession

from roilake.errors import MetricError
from roilake.metrics import Columns, Estimate, measure_arrays, measure_table, table_scores
from tests.metrics.labelled import METRICS, labelled
from tests.metrics.random_tables import EVENTS, IDS, ITEMS, VECTORS, tables, with_ids

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
    first = rows["users"] < 8
    for name, mask in {"all": first | True, "half=a": first, "half is null": ~first}.items():
        part = {key: rows[key][mask] if len(rows[key]) == len(mask) else rows[key] for key in rows}
        paired = measure_arrays(**part, metrics=METRICS)
        alone = measure_arrays(**{k: v for k, v in part.items() if k != "others"}, metrics=METRICS)
        for model, expected in (("score", alone), ("score minus others", paired)):
            for metric, estimate in expected.items():
                same(ours[model, name, metric], estimate, f"{model} {name} {metric}")


@pytest.mark.parametrize("kinds", ["string bigint double", "double string date"])
@settings(max_examples=2, derandomize=True, deadline=None, phases=[Phase.generate])
@given(drawn=tables())
def test_random_tables_give_what_arrays_give(spark: SparkSession, kinds: str, drawn: list[dict[str, Any]]) -> None:
    """Many at once (and none): ids of other types, ties, users of one class, weights of 0, what was never shown."""
    types = dict(zip(("user", "request", "item"), kinds.split(), strict=True))
    rows, items = with_ids(drawn, types), [IDS[types["item"]](number) for number in range(ITEMS)]
    ids = ", ".join(f"{name} {kind}" for name, kind in types.items())
    table = spark.createDataFrame(
        rows, f"{ids}, part int, label int, score double, other double, weight double, shown int"
    )
    catalogue = spark.createDataFrame(
        list(zip(items, EVENTS, VECTORS, strict=True)), f"item {types['item']}, events double, vector array<double>"
    )
    columns = Columns(other="other", weight="weight", request="request", item="item", shown="shown")
    found = measure_table(table, METRICS, columns=columns, slices=["part"], catalogue=catalogue, draws=50)
    ours = {(row["model"], row["slice"], row["metric"]): row for row in found.to_pylist()}
    for name, part in [("all", rows), *((f"part={number}", part) for number, part in rows.groupby("part"))]:
        given = {f"{key}s": part[key].tolist() for key in ("user", "request", "item", "weight")}
        rest = {"catalogue": items, "events": EVENTS, "vectors": VECTORS, "draws": 50, "shown": part["shown"].tolist()}
        for model, others in (("score", None), ("score minus other", part["other"].tolist())):
            expected = measure_arrays(part["label"], part["score"], METRICS, others=others, **given, **rest)
            for metric, estimate in expected.items():
                same(ours[model, name, metric], estimate, f"{model} {name} {metric}")


def same(row: dict[str, Any], estimate: Estimate, where: str) -> None:
    """A table's row against what arrays give."""
    known = [np.nan if row[key] is None else row[key] for key in ("value", "low", "high", "n")]
    wanted = [estimate.value, estimate.low, estimate.high, estimate.n]
    np.testing.assert_allclose(known, wanted, atol=1e-9, rtol=0, err_msg=where)


def test_each_kind_of_metric_is_computed_alone_and_odd_names_are_names(spark: SparkSession) -> None:
    """Columns with dots and backticks, two that differ in case only, and slices of null beside one of text "none"."""
    table = spark.createDataFrame(
        [("01", 1, 0.9, 5, 1, "none", 1), ("01", 0, 0.8, 5, 2, None, 1), ("1", 1, 0.2, 6, 3, None, 1),
         ("1", 0, 0.1, 6, 1, "none", 1), ("1", 1, None, 6, 4, "none", 0)],
        "`user.id` string, label int, score double, `re``quest` int, item int, Item string, shown int",
    )  # fmt: skip
    known = [(1, 3.0, [1.0, 0.0]), (2, 1.0, None), (3, 0.0, [0.0, 1.0]), (4, 2.0, [1.0, 1.0])]
    catalogue = spark.createDataFrame(known, "item int, events double, vector array<double>")
    columns = Columns(user="user.id", request="re`quest", item="item", shown="shown")
    arrays = {
        "users": ["01", "01", "1", "1", "1"], "requests": [5, 5, 6, 6, 6], "items": [1, 2, 3, 1, 4],
        "shown": [1, 1, 1, 1, 0], "catalogue": [1, 2, 3, 4], "events": [3, 1, 0, 2],
    }  # fmt: skip
    for name in ("coverage@3", "gauc_none", "recall@1"):
        (row,) = measure_table(table, [name, name], columns=columns, catalogue=catalogue).to_pylist()
        same(row, measure_arrays([1, 0, 1, 0, 1], [0.9, 0.8, 0.2, 0.1, 0.0], [name], **arrays)[name], name)
    sliced = measure_table(table, ["log_loss"], columns=columns, slices=["Item", "Item"]).to_pylist()
    assert [(row["slice"], row["n"]) for row in sliced] == [("Item is null", 2), ("Item=none", 2), ("all", 4)]


def test_bad_catalogues_and_ids_are_refused(spark: SparkSession) -> None:
    table = spark.createDataFrame(
        [(1, 1, 0.9, 5, 1), (1, 0, 0.8, 5, 2)], "user int, label int, score double, r int, i int"
    )
    columns = Columns(request="r", item="i")
    for rows, schema, says in (
        ([(1, 3.0)], "item int, events double", r"item 2 is not in the catalogue of 1 items \(1 such items\): add it"),
        ([(1, 3.0), (2, 1.0), (2, 1.0)], "item int, events double", "the catalogue has item 2 twice"),
        ([(1, 3.0), (None, 1.0)], "item int, events double", "items must not be null: 1 of the catalogue's 2 rows"),
        ([(1, 3.0), (2, None)], "item int, events double", "events must be counts: 1 of the catalogue's 2 rows"),
        (
            [("1", 3.0), ("2", 1.0)],
            "item string, events double",
            "items are int in the table and string in the catalogue",
        ),
        ([(1, 3.0), (2, 1.0)], "thing int, events double", "the catalogue has no column item; it has thing, events"),
        ([(1, "3"), (2, "1")], "item int, events string", "column events is string: events must be numbers"),
    ):
        with pytest.raises(MetricError, match=says):
            measure_table(table, ["novelty@3"], columns=columns, catalogue=spark.createDataFrame(rows, schema))
    for change, says in (
        ("if(i = 2, null, r) AS r", "requests must not be null: 1 of 2 rows"),
        ("if(i = 2, double('nan'), r) AS r", "requests must not be null: 1 of 2 rows"),
        ("string(null) AS user", "users must not be null: 2 of 2 rows"),
        ("map(i, 1) AS i", "items are map<int,int>: ids must be of a type that can be compared"),
        ("string(score) AS score", "column score is string: scores must be numbers"),
        ("array(score) AS weight", "column weight is array<double>: weights must be numbers"),
    ):
        kept = [name for name in table.columns if name != change.split(" ")[-1]]
        with pytest.raises(MetricError, match=says):
            odd = Columns(request="r", item="i", weight="weight" if "weight" in change else None)
            measure_table(table.selectExpr(*kept, change), ["recall@3"], columns=odd)
    with pytest.raises(MetricError, match="the table has more than one column i; it has user, label, score, r, i, i"):
        measure_table(table.select("*", "i"), ["recall@3"], columns=columns)
    with pytest.raises(MetricError, match=r"name columns\.user or columns\.request"):
        measure_table(table, ["auc"], columns=Columns(user=None))


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
