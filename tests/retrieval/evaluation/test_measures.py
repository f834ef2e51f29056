"""The measures of a night: slices hold the right positives, calibration is fitted apart, links are of the past."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession
from sklearn.linear_model import LogisticRegression

from roilake.errors import MetricError
from roilake.metrics.calibration import fit_logistic
from roilake.metrics.lists import Catalogue
from roilake.metrics.ranking import Ranks, ranks_among_negatives
from roilake.metrics.slices import delta_vs_default
from roilake.pipelines.retrieval.config import EvaluationConfig, RetrievalConfig, SliceConfig
from roilake.pipelines.retrieval.evaluation.measures import measure
from roilake.pipelines.retrieval.evaluation.slice_attributes import field_values, links
from roilake.pipelines.retrieval.evaluation.slices import Positives, SliceAttributes, slice_masks

ITEMS, REQUESTS, DS = 30, 40, date(2020, 1, 10)
STARTS = {"validation": date(2020, 1, 9), "test": DS}


def outcomes(models: tuple[str, ...] = ("good", "bad")) -> pa.Table:
    """Two splits; user u has two requests with one to three positives each; the last request shows no list."""
    rng, rows = np.random.default_rng(0), []
    for split, start in STARTS.items():
        positives = [rng.choice(ITEMS, 1 + r % 3, replace=False).tolist() for r in range(REQUESTS)]
        for number, model in enumerate(models):
            for r in range(REQUESTS):
                count = len(positives[r])
                rows.append(
                    {
                        "model": model, "split": split, "as_of": start, "request": r, "user": r // 2,
                        "query": r % 3 - 1, "cold": r < 4, "bare": r < 2, "items": positives[r],
                        "top": rng.choice(ITEMS, 5, replace=False).tolist(),
                        "days": [start] * count, "head": [item < 6 for item in positives[r]],
                        "positives": (rng.normal(size=count) + 1 - number).tolist(),
                        "ranks": sorted((rng.choice(ITEMS, count, replace=False) + 1).tolist()),
                        "uniform": rng.normal(size=8).tolist(), "popular": rng.normal(size=8).tolist(),
                        "in_query": rng.integers(0, 2, 4 if r % 3 else 0).astype(float).tolist(),
                    }
                )  # fmt: skip
    return pa.Table.from_pylist(rows)


def config(**changes: Any) -> EvaluationConfig:
    slices = {
        "sex": {"by": "user", "field": "sex", "values": 2},
        "active": {"by": "activity"},
        "day": {"by": "day"},
        "linked": {"by": "edge_type"},
        "query": {"by": "query", "field": "kind"},
    }
    metrics = (
        "auc",
        "auc_popularity_negatives",
        "auc_in_query",
        "gauc",
        "log_loss",
        "hit_rate@5",
        "ndcg@5",
        "coverage@5",
        "diversity@5",
    )
    return EvaluationConfig.model_validate({"metrics": metrics, "slices": slices, "bootstrap": 20, **changes})


def attributes() -> SliceAttributes:
    fields = {
        ("user", "sex"): np.array(["f", "m", None, "x"] * 5, dtype=object),
        ("query", "kind"): np.array(["a", "b"], dtype=object),
    }
    linked = pa.table({"request": [0, 5], "item": [-1, -1], "edge_type": ["user_item", "item_item"]})
    activity = {start: np.arange(20) * 10 for start in STARTS.values()}
    return SliceAttributes(fields, activity, linked)


def measured(table: pa.Table, settings: EvaluationConfig) -> dict[tuple[str, ...], dict[str, Any]]:
    catalogues = {
        start: Catalogue(
            np.arange(ITEMS)[::-1], np.random.default_rng(1).normal(size=(ITEMS, 3)), ITEMS * (ITEMS + 1) / 2, ITEMS
        )
        for start in STARTS.values()
    }
    rows = measure(table, catalogues, attributes(), settings, "good", 3, DS, "run").to_pylist()
    found = {(row["model"], row["split"], row["slice"], row["metric"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_slices_part_the_positives_and_keep_others_out_of_the_list() -> None:
    table = outcomes()
    found = measured(table, config())
    n = {name: row["n"] for (model, split, name, metric), row in found.items()
         if (model, split, metric) == ("good", "test", "hit_rate@5")}  # fmt: skip
    by_sex = {name: count for name, count in n.items() if name.startswith("sex=")}
    assert len(by_sex) == 3 and "sex=other" in by_sex and sum(by_sex.values()) == n["all"]
    assert n["active=0"] + n["active=1-9"] + n["active=10-99"] + n["active=100+"] == n["all"] == n["day=2020-01-10"]
    assert n["query=a"] + n["query=b"] + n["query=none"] == n["all"]
    assert n["head_items"] + n["tail_items"] == n["cold_users"] + n["warm_users"] == n["all"] == n["linked=none"]
    assert n["no_history"] == 3 and n["no_history"] + n["with_history"] == n["all"]  # the first two requests
    assert found["good", "test", "active=1-9", "auc"]["value"] is None and n["active=1-9"] == 0
    mine = table.filter((pa.compute.field("model") == "good") & (pa.compute.field("split") == "test")).to_pylist()
    hits = []
    for row in mine:
        for rank, head in zip(row["ranks"], row["head"], strict=True):
            if head:
                hits.append(rank - sum(other < rank for other in row["ranks"]) <= 5)
    assert found["good", "test", "head_items", "hit_rate@5"]["value"] == pytest.approx(np.mean(hits))
    whole = Ranks.of(
        np.concatenate([r["ranks"] for r in mine]),
        np.repeat(range(REQUESTS), [len(r["ranks"]) for r in mine]),
        REQUESTS,
    )
    assert found["good", "test", "all", "hit_rate@5"]["value"] == np.mean(ranks_among_negatives(whole) <= 5)


def test_auc_in_query_is_the_mean_share_that_positives_beat() -> None:
    """Ties count a half; requests without a query have none, and a night without any has no value."""
    table = outcomes()
    table = table.set_column(table.column_names.index("positives"), "positives", pa.array(
        [[1.0, 0.0, 0.5][: len(scores)] for scores in table["positives"].to_pylist()]
    ))  # fmt: skip
    found = measured(table, config())
    mine = table.filter((pa.compute.field("model") == "bad") & (pa.compute.field("split") == "test")).to_pylist()
    values = [
        np.mean([(own > other) + (own == other) / 2 for other in row["in_query"]])
        for row in mine
        for own in row["positives"]
        if row["in_query"]
    ]
    row = found["bad", "test", "all", "auc_in_query"]
    assert (row["value"], row["n"]) == (pytest.approx(np.mean(values)), len(values))
    assert row["low"] < row["value"] < row["high"]
    column = table.column_names.index("in_query")
    none = table.set_column(column, "in_query", pa.array([[]] * len(table), pa.list_(pa.float64())))
    row = measured(none, config())["bad", "test", "all", "auc_in_query"]
    assert (row["value"], row["low"], row["n"]) == (None, None, 0)


def test_differences_and_calibration_of_a_night() -> None:
    found = measured(outcomes(), config())
    for metric in config().metrics:
        ours, theirs = (found[model, "test", "all", metric] for model in ("bad", "good"))
        paired = found["bad", "test", "delta_vs_default", metric]
        assert paired["value"] == pytest.approx(ours["value"] - theirs["value"], abs=1e-12)
        assert paired["low"] <= paired["value"] <= paired["high"], metric
    assert ("good", "validation", "all", "log_loss") not in found


def test_differences_are_paired_on_every_slice() -> None:
    """As if the slice were all there is: the same rows, measured alone."""
    table, settings = outcomes(), config()
    found = measured(table, settings)
    names = {name for model, split, name, metric in found if (model, split, metric) == ("bad", "test", "auc")}
    differences = {name for name in names if name.startswith("delta_vs_")}
    assert differences == {delta_vs_default(name) for name in names - differences} and len(differences) > 15
    for name in names - differences:
        for metric in settings.metrics:
            ours, theirs, paired = (
                found[model, "test", place, metric]
                for model, place in (("bad", name), ("good", name), ("bad", delta_vs_default(name)))
            )
            if ours["value"] is None or theirs["value"] is None:
                assert paired["value"] is None
            else:
                assert paired["value"] == pytest.approx(ours["value"] - theirs["value"], abs=1e-12)
                assert paired["low"] is None or paired["low"] <= paired["value"] <= paired["high"]
    cold = measured(table.filter(pa.compute.field("cold") | (pa.compute.field("split") == "validation")), settings)
    for metric in ("auc", "gauc", "hit_rate@5", "ndcg@5", "coverage@5"):
        alone, sliced = (
            cold["bad", "test", "delta_vs_default", metric],
            found["bad", "test", "delta_vs_default on cold_users", metric],
        )
        assert [alone[key] for key in ("value", "low", "high", "n")] == pytest.approx(
            [sliced[key] for key in ("value", "low", "high", "n")]
        )
    bounds = RetrievalConfig.model_validate(
        night("delta_vs_default on cold_users", "delta_vs_default on sex=f")
    ).gates.bounds
    assert len(bounds) == 2
    says = (
        r"no slice 'delta_vs_default on odd=f' of auc on split test; there are all, .* delta_vs_default on cold_users"
    )
    with pytest.raises(ValidationError, match=says):
        RetrievalConfig.model_validate(night("delta_vs_default on odd=f"))


def night(*slices: str) -> dict[str, Any]:
    """A night's config whose gates bound differences on slices."""
    columns = {"user": "u", "item": "i", "time": "t"}
    users = {"path": "u.csv", "format": "csv", "key": "u", "fields": {"sex": "sex"}}
    return {
        "pipeline": "retrieval", "name": "test", "models": {"zoomer": {"kind": "zoomer"}, "ease": {"kind": "ease"}},
        "source": {"events": {"path": "e.csv", "format": "csv", "columns": columns}, "users": users},
        "evaluation": {"slices": {"sex": {"by": "user", "field": "sex"}}},
        "gates": {"bounds": [{"metric": "auc", "model": "ease", "slice": name, "maximum": 0} for name in slices]},
    }  # fmt: skip


def test_bins_hold_all_rows_of_the_test_split() -> None:
    found = measured(outcomes(), config())
    bins = [row for (model, _, name, metric), row in found.items()
            if model == "good" and name.startswith("calibration bin") and metric == "predicted"]  # fmt: skip
    assert sum(row["n"] for row in bins) == found["good", "test", "all", "log_loss"]["n"]


def test_a_default_model_without_outcomes_and_other_requests_are_named() -> None:
    with pytest.raises(MetricError, match="no outcomes of the default model 'good'"):
        measured(outcomes(("bad",)), config())
    table = outcomes()
    less = table.filter((pa.compute.field("model") != "bad") | (pa.compute.field("request") != 7))
    with pytest.raises(MetricError, match="bad and good were evaluated on different"):
        measured(less, config())


def test_the_logistic_map_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000) * 1.0
    scores = 100 + 20 * (rng.normal(size=5000) + labels)
    ours = fit_logistic(labels, scores)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit((scores[:, None] - 100) / 20, labels)
    assert ours is not None
    assert ours.slope == pytest.approx(theirs.coef_[0, 0] / 20, rel=3e-3)  # Platt's targets are not quite 0 and 1
    assert fit_logistic(np.ones(3), np.arange(3.0)) is None
    apart = fit_logistic(np.array([0.0, 0, 1, 1]), np.array([1.0, 2, 3, 4]))
    assert apart is not None and np.isfinite([apart.slope, apart.shift]).all() and apart.slope > 0
    flat = fit_logistic(np.array([0.0, 0, 1]), np.full(3, 5.0))
    assert flat is not None
    assert flat(np.array([5.0]))[0] == pytest.approx((1 / 4 + 1 / 4 + 2 / 3) / 3)  # of targets, whatever the score


def test_links_are_edges_of_the_window_from_user_query_and_last_item(spark: SparkSession) -> None:
    def edge(kind: str, src: int, dst: int, hour: int = 0, as_of: date = DS) -> tuple:
        return as_of, kind, src, dst, datetime(2020, 1, 1, hour)

    edges = spark.createDataFrame(
        [edge("user_item", 1, 7), edge("user_item", 1, 8, 5), edge("item_item", 8, 9), edge("item_item", 7, 9),
         edge("item_item", 7, 3), edge("query_item", 2, 9), edge("query_user", 2, 3), edge("user_query", 1, 3),
         edge("user_item", 1, 3, as_of=date(2020, 1, 9))],
        "as_of date, edge_type string, src int, dst int, last_time timestamp",
    )  # fmt: skip
    wanted = {"as_of": [DS] * 3, "request": [100] * 3, "user": [1] * 3, "query": [2, 2, 2], "item": [7, 9, 3]}
    found = links(edges, pa.table(wanted)).to_pylist()
    pairs = sorted((row["item"], row["edge_type"]) for row in found)
    assert pairs == [(7, "user_item"), (9, "item_item"), (9, "query_item")]


def test_a_value_named_as_the_unknown_or_the_rest_is_a_slice_of_its_own() -> None:
    rows = outcomes(("good",))
    kinds = np.array(["none", None, "other", "x"] * 5, dtype=object)
    slices = {"kind": SliceConfig(by="user", field="kind", values=3)}
    masks = slice_masks(Positives.of(rows), slices, SliceAttributes({("user", "kind"): kinds}))
    parts = {name: mask.sum() for name, mask in masks.items() if name.startswith("kind=")}
    assert set(parts) == {"kind='none'", "kind=none", "kind='other'", "kind=other"}
    assert sum(parts.values()) == masks["all"].sum() and all(parts.values())


def test_fields_by_id() -> None:
    fields = pa.array([[("sex", "f")], [("age", "9")]], pa.map_(pa.string(), pa.string()))
    values = field_values(pa.table({"id": [2, 0], "fields": fields}), "sex")
    assert values.tolist() == [None, None, "f"]


def test_configs_with_unknown_metrics_or_slices_are_refused() -> None:
    with pytest.raises(ValidationError, match="unknown metric 'ndgc@20'; there are auc"):
        EvaluationConfig(metrics=("ndgc@20",))
    with pytest.raises(ValidationError, match="by: user needs a field"):
        SliceConfig(by="user")
    with pytest.raises(ValidationError, match="by: day takes no field"):
        SliceConfig(by="day", field="age")
