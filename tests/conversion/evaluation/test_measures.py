"""Metrics of conversions against scikit-learn: of clicks, of impressions, and as expectations over a known truth."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from roilake.errors import MetricError
from roilake.metrics.intervals import Draws
from roilake.pipelines.conversion.evaluation.measures import BINS, curve, measure, observe
from roilake.pipelines.conversion.evaluation.predictions import EvaluatedImpressions, Predictions

ROWS, USERS = 3000, 90
Measured = dict[tuple[str, str, str, str], dict]


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    buys, clicks = rng.beta(1, 6, ROWS), rng.beta(1, 4, ROWS)
    click = (rng.random(ROWS) < clicks).astype(float)
    return {
        "ids": rng.permutation(ROWS),
        "user": rng.integers(0, USERS, ROWS),
        "buys": buys,
        "clicks": clicks,
        "click": click,
        "bought": np.where(click == 1, (rng.random(ROWS) < buys).astype(float), np.nan),
        "rate": rng.choice([0.5, 1.0], ROWS),
        "good": np.clip(buys * np.exp(0.3 * rng.normal(size=ROWS)), 0, 1),
        "poor": np.clip(buys * np.exp(1.5 * rng.normal(size=ROWS)), 0, 1),
    }


def impressions(world: dict[str, np.ndarray], *, known: bool = True) -> pa.Table:
    nothing = np.full(ROWS, np.nan)
    click, bought = (world[name] if known else nothing for name in ("click", "bought"))
    columns = {"impression_id": [f"i{n:05d}" for n in world["ids"]], "user": [f"u{u}" for u in world["user"]]}
    labels = {name: pa.array(v, from_pandas=True) for name, v in (("click", click), ("conversion", bought))}
    return pa.table({**columns, **labels, "sampling_rate": world["rate"]})


def truth(world: dict[str, np.ndarray]) -> pa.Table:
    ids = [f"i{n:05d}" for n in world["ids"]]
    probabilities = {"click_probability": world["clicks"], "conversion_probability": world["buys"]}
    return pa.table({"impression_id": ids, **probabilities}).take(np.arange(ROWS)[::-1])


def predicted(world: dict[str, np.ndarray], name: str, *, clicks: bool = True) -> pa.Table:
    pctr = pa.array(world["clicks"]) if clicks else pa.nulls(ROWS, pa.float64())
    both = pa.array(world["clicks"] * world[name]) if clicks else pctr
    ids = [f"i{n:05d}" for n in world["ids"]]
    return pa.table({"impression_id": ids, "pctr": pctr, "pcvr": world[name], "pctcvr": both})


@pytest.fixture(scope="module")
def found(world: dict[str, np.ndarray]) -> Measured:
    evaluated = {
        "test": EvaluatedImpressions.of(impressions(world)),
        "unbiased": EvaluatedImpressions.of(impressions(world, known=False), truth(world)),
    }
    rows = {"good": predicted(world, "good"), "poor": predicted(world, "poor", clicks=False)}
    scores = {s: {m: Predictions.of(r, k, m) for m, r in rows.items()} for s, k in evaluated.items()}
    metrics = measure(evaluated, scores, "good", 50, 1, date(2020, 1, 1), "run")
    return {(r["model"], r["split"], r["slice"], r["metric"]): r for r in metrics.to_pylist()}


def test_clicks_are_evaluated_by_what_came_of_them(world: dict[str, np.ndarray], found: Measured) -> None:
    mine = world["click"] == 1
    label, score, weight = world["bought"][mine], world["good"][mine], 1 / world["rate"][mine]
    place = ("good", "test", "clicked")
    assert found[*place, "auc"]["value"] == pytest.approx(roc_auc_score(label, score, sample_weight=weight))
    assert found[*place, "log_loss"]["value"] == pytest.approx(log_loss(label, score, sample_weight=weight))
    assert found[*place, "calibration_ratio"]["value"] == pytest.approx((weight @ score) / (weight @ label))
    assert found[*place, "auc"]["n"] == label.sum() and found[*place, "log_loss"]["n"] == len(label)
    assert all(found[*place, "auc"][end] is not None for end in ("low", "high"))


def test_impressions_are_evaluated_by_click_and_by_both(world: dict[str, np.ndarray], found: Measured) -> None:
    weight, both = 1 / world["rate"], np.nan_to_num(world["bought"])
    expected = {
        "ctr_auc": roc_auc_score(world["click"], world["clicks"], sample_weight=weight),
        "ctcvr_auc": roc_auc_score(both, world["clicks"] * world["good"], sample_weight=weight),
    }
    for metric, value in expected.items():
        assert found["good", "test", "all", metric]["value"] == pytest.approx(value)
        assert ("poor", "test", "all", metric) not in found  # a model without a click task


@pytest.mark.parametrize("name", ["all", "clicked", "unclicked"])
def test_of_a_truth_metrics_are_expectations(world: dict[str, np.ndarray], found: Measured, name: str) -> None:
    belongs = {"all": 1.0, "clicked": world["clicks"], "unclicked": 1 - world["clicks"]}[name] / world["rate"]
    labels, scores = np.repeat([1, 0], ROWS), np.tile(world["poor"], 2)
    weights = np.concatenate([belongs * world["buys"], belongs * (1 - world["buys"])])
    place = ("poor", "unbiased", name)
    assert found[*place, "auc"]["value"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    expected = log_loss(labels, scores, sample_weight=weights)
    assert found[*place, "log_loss"]["value"] == pytest.approx(expected)
    ratio = (belongs * world["poor"]).sum() / (belongs * world["buys"]).sum()
    assert found[*place, "calibration_ratio"]["value"] == pytest.approx(ratio)
    assert found[*place, "log_loss"]["n"] == ROWS


def test_the_expectation_is_the_mean_over_many_draws(world: dict[str, np.ndarray], found: Measured) -> None:
    rng, weight = np.random.default_rng(8), 1 / world["rate"]
    drawn = [roc_auc_score(rng.random(ROWS) < world["buys"], world["good"], sample_weight=weight) for _ in range(60)]
    error = 3 * np.std(drawn) / np.sqrt(len(drawn))
    assert abs(found["good", "unbiased", "all", "auc"]["value"] - np.mean(drawn)) < error


def test_differences_are_paired_on_every_slice(found: Measured) -> None:
    for split, own, name in (
        ("test", "clicked", "delta_vs_default"),
        ("test", "clicked", "delta_vs_default on clicked"),
        ("unbiased", "all", "delta_vs_default"),
        ("unbiased", "clicked", "delta_vs_default on clicked"),
        ("unbiased", "unclicked", "delta_vs_default on unclicked"),
    ):
        for metric in ("auc", "log_loss", "calibration_ratio", "calibration_error"):
            values = [found[model, split, own, metric]["value"] for model in ("poor", "good")]
            row = found["poor", split, name, metric]
            assert row["value"] == pytest.approx(values[0] - values[1])
    assert {name for model, _, name, _ in found if name.startswith("delta_vs_")} == {
        "delta_vs_default", "delta_vs_default on clicked", "delta_vs_default on unclicked",
    }  # fmt: skip
    wide = [found[m, "unbiased", "all", "auc"] for m in ("poor", "good")]
    apart = found["poor", "unbiased", "delta_vs_default", "auc"]
    assert apart["high"] - apart["low"] < sum(row["high"] - row["low"] for row in wide)


def test_the_curve_has_bins_of_equal_numbers_of_rows(world: dict[str, np.ndarray]) -> None:
    evaluated = EvaluatedImpressions.of(impressions(world, known=False), truth(world))
    scores = Predictions.of(predicted(world, "good"), evaluated, "good")
    bins = dict(curve(evaluated, scores, "all"))
    assert len(bins) == 2 * BINS and all(part.n == ROWS / BINS for part in bins.values())
    draws = Draws(np.arange(evaluated.users), 10, 0)
    means = [bins[f"calibration bin {n:02d}", "predicted"].estimate(draws).value for n in range(1, BINS + 1)]
    assert means == sorted(means)
    weight = 1 / world["rate"]
    lowest = np.argsort(world["good"])[: ROWS // BINS]
    observed = bins["calibration bin 01", "observed"].estimate(draws).value
    assert observed == pytest.approx((weight * world["buys"])[lowest].sum() / weight[lowest].sum())


def test_a_split_without_conversions_has_what_is_defined(world: dict[str, np.ndarray]) -> None:
    rows = impressions(world)
    none = pa.array(np.where(world["click"] == 1, 0.0, np.nan), from_pandas=True)
    evaluated = EvaluatedImpressions.of(rows.set_column(3, "conversion", none))
    scores = {"test": {"good": Predictions.of(predicted(world, "good"), evaluated, "good")}}
    metrics = measure({"test": evaluated}, scores, "good", 10, 1, date(2020, 1, 1), "run").to_pylist()
    values = {(row["slice"], row["metric"]): row["value"] for row in metrics}
    assert values["clicked", "auc"] is None and values["clicked", "calibration_ratio"] is None
    assert values["all", "ctcvr_auc"] is None and values["leakage_check", "auc_shuffled"] is None
    assert values["clicked", "log_loss"] > 0 and values["all", "ctr_auc"] > 0.5


def test_random_pairs_with_known_labels_need_no_clicks(world: dict[str, np.ndarray]) -> None:
    rows = impressions(world).set_column(2, "click", pa.nulls(ROWS, pa.float64()))
    known = EvaluatedImpressions.of(rows.set_column(3, "conversion", pa.array((world["buys"] > 0.2).astype(float))))
    places = {name for name, _ in observe("unbiased", known, Predictions.of(predicted(world, "good"), known, "good"))}
    assert places == {"all"}


def test_scores_of_other_impressions_are_refused(world: dict[str, np.ndarray]) -> None:
    evaluated = EvaluatedImpressions.of(impressions(world))
    with pytest.raises(
        MetricError, match=r"cvr_scores of good are of other impressions .* run score_conversions again"
    ):
        Predictions.of(predicted(world, "good").slice(1), evaluated, "good")
    with pytest.raises(MetricError, match="conversion_truth holds 2999 of the 3000 random pairs"):
        EvaluatedImpressions.of(impressions(world, known=False), truth(world).slice(1))
