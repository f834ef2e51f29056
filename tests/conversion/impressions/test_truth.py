"""A generated log is the same however it is cut, keeps to its rates, and its probabilities are those of its draws."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from jobs.conversion import build_impressions
from roilake.errors import SourceError
from roilake.ingest.files import resolve_path
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig, TruthConfig
from roilake.pipelines.conversion.impressions import truth_rows
from roilake.pipelines.conversion.impressions.truth import World, fit_factors, read_ratings
from roilake.pipelines.conversion.impressions.truth_rows import Generator, generated_rows
from roilake.runtime.registry import load_config

RATINGS = "package://recbole/dataset_example/ml-100k/ml-100k.inter"
CONF = Path(__file__).parents[3] / "conf" / "nights" / "conversion" / "generated.yaml"
DS = date(1998, 3, 28)
Numbers = NDArray[Any]


@pytest.fixture(scope="module")
def ratings() -> pa.Table:
    names = ["user", "item", "rating", "time"]
    return pa.csv.read_csv(
        resolve_path(RATINGS),
        parse_options=pa.csv.ParseOptions(delimiter="\t"),
        read_options=pa.csv.ReadOptions(skip_rows=1, column_names=names),
        convert_options=pa.csv.ConvertOptions(column_types={"user": pa.string(), "item": pa.string()}),
    )


@pytest.fixture(scope="module")
def world(ratings: pa.Table) -> World:
    user_N, item_N, rating_N, _, _ = read_ratings(ratings, RATINGS)
    return World(fit_factors(user_N, item_N, rating_N, 7), knobs_of(), 7)


def knobs_of(**knobs: Any) -> TruthConfig:
    source = {"path": RATINGS, "format": "csv", "user": "-", "item": "-", "rating": "-"}
    return TruthConfig.model_validate({"ratings": source, **knobs})


def night() -> ConversionConfig:
    config = load_config(CONF, "conversion")
    assert isinstance(config, ConversionConfig)
    return config


def with_knobs(world: World, **knobs: Any) -> World:
    return replace(world, config=knobs_of(**knobs))


def pairs(world: World) -> tuple[Numbers, Numbers]:
    return world.pairs(np.arange(1_000_000, 1_100_000))  # others than the means were taken over


def test_the_fit_explains_ratings_and_takes_them_in_any_order(ratings: pa.Table, world: World) -> None:
    user_N, item_N, rating_N, _, _ = read_ratings(ratings, RATINGS)
    f = world.factors
    told_N = f.user_U[user_N] + f.item_I[item_N] + np.einsum("nk,nk->n", f.user_UK[user_N], f.item_IK[item_N])
    error = np.sqrt(np.mean((rating_N - rating_N.mean() - told_N) ** 2))
    bias = np.sqrt(np.mean((rating_N - rating_N.mean() - f.user_U[user_N] - f.item_I[item_N]) ** 2))
    assert error < 0.85 < bias < 0.95 < rating_N.std()
    shuffled = ratings.take(np.random.default_rng(0).permutation(len(ratings)))
    again = fit_factors(*read_ratings(shuffled, RATINGS)[:3], 7)
    assert all(np.array_equal(a, b) for a, b in zip(vars(f).values(), vars(again).values(), strict=True))


def test_ratings_without_rows_or_with_nulls_are_refused() -> None:
    names = {"user": pa.string(), "item": pa.string(), "rating": pa.float64()}
    empty = pa.table({name: pa.array([], kind) for name, kind in names.items()})
    null = pa.table({"user": ["a"], "item": ["b"], "rating": pa.array([None], pa.float64())})
    for table in (empty, null):
        with pytest.raises(SourceError, match=r"x\.csv: a truth needs ratings"):
            read_ratings(table, "x.csv")


def test_affinity_is_the_stated_mixture_standardised_over_all_pairs(world: World) -> None:
    f = world.factors
    bias_UI, product_UI = f.user_U[:, None] + f.item_I, f.user_UK @ f.item_IK.T
    scaled = [(part - part.mean()) / part.std() for part in (bias_UI, product_UI)]
    z_UI = 0.75 * scaled[0] + 0.66 * scaled[1]
    z_UI = (z_UI - z_UI.mean()) / z_UI.std()
    user_N, item_N = pairs(world)
    assert np.abs(world.affinity(user_N, item_N) - z_UI[user_N, item_N]).max() < 0.05  # means over a sample


@pytest.mark.parametrize("rate", [0.05, 0.005])
def test_conversions_have_the_stated_logit_and_rate_over_all_pairs(world: World, rate: float) -> None:
    made = with_knobs(world, conversion_rate=rate)
    user_N, item_N = pairs(made)
    probability_N = made.conversion_probability(user_N, item_N)
    assert abs(probability_N.mean() / rate - 1) < 0.03
    offset_N = logit(probability_N) - 1.5 * made.affinity(user_N, item_N)
    assert np.ptp(offset_N) < 1e-6


@pytest.mark.parametrize("knobs", [{}, {"click_affinity": -1.0}, {"hidden_cause": 1.5}, {"click_rate": 0.3}], ids=str)
def test_draws_come_as_often_as_the_probabilities_say(world: World, knobs: dict[str, float]) -> None:
    made = with_knobs(world, **knobs)
    drawn = made.impressions(np.arange(200_000))
    assert abs(drawn.click_N.mean() / made.config.click_rate - 1) < 0.04
    clicked = drawn.click_N == 1
    assert not drawn.conversion_N[~clicked].any()
    labels = (
        (drawn.click_N, drawn.click_probability_N),
        (drawn.conversion_N[clicked], drawn.conversion_probability_N[clicked]),
    )
    for label_M, probability_M in labels:
        for tenth in np.array_split(np.argsort(probability_M), 10):
            spread = np.sqrt((probability_M[tenth] * (1 - probability_M[tenth])).sum())
            assert abs(label_M[tenth].sum() - probability_M[tenth].sum()) < 4 * spread
    assert np.isnan(drawn.delay_N[drawn.conversion_N == 0]).all()
    delay_M = drawn.delay_N[drawn.conversion_N == 1]
    assert delay_M.min() >= 0 and abs(delay_M.mean() / (6 * 3600) - 1) < 0.15
    assert drawn.seconds_N.min() >= 0 and drawn.seconds_N.max() < 28 * 86400


def test_clicks_are_biased_as_the_knobs_say(world: World) -> None:
    def rates(**knobs: float) -> tuple[float, float]:
        """P(conversion if clicked) of clicks, and of all impressions."""
        drawn = with_knobs(world, **knobs).impressions(np.arange(100_000))
        clicked = drawn.click_N == 1
        return drawn.conversion_probability_N[clicked].mean(), drawn.conversion_probability_N.mean()

    clicks, shown = rates(click_affinity=1.0)
    assert clicks / shown > 1.5 and shown > 0.05  # so are impressions
    clicks, shown = rates(click_affinity=-1.0)
    assert clicks < 0.6 * shown
    clicks, shown = rates(click_affinity=0.0, click_popularity=0.0)
    assert abs(clicks / shown - 1) < 0.1
    hidden, _ = rates(click_affinity=0.0, click_popularity=0.0, hidden_cause=1.5)
    assert hidden > 1.5 * shown


def test_popularity_draws_clicks(world: World) -> None:
    drawn = with_knobs(world, click_affinity=0.0, click_popularity=1.0).impressions(np.arange(100_000))
    popularity_N = world.factors.ratings_I[drawn.item_N]
    assert roc_auc_score(drawn.click_N, popularity_N) > 0.7


def test_the_hidden_cause_is_of_the_pair_and_in_no_feature(world: World) -> None:
    made = with_knobs(world, hidden_cause=1.5)
    user_N, item_N = pairs(made)
    probability_N = made.conversion_probability(user_N, item_N)
    assert np.array_equal(probability_N, made.conversion_probability(user_N, item_N))
    hidden_N = logit(probability_N) - 1.5 * made.affinity(user_N, item_N)
    hidden_N = (hidden_N - hidden_N.mean()) / 1.5
    assert abs(hidden_N.std() - 1) < 0.02
    for of_N in (user_N, item_N):  # says nothing beyond chance of its user or item
        mean_U = np.bincount(of_N, hidden_N) / np.maximum(np.bincount(of_N), 1)
        expected = np.mean(1 / np.bincount(of_N)[np.bincount(of_N) > 0])
        assert np.var(mean_U[np.bincount(of_N) > 0]) < 1.3 * expected


def test_impressions_depend_on_their_number_and_seed_alone(world: World) -> None:
    whole = world.impressions(np.arange(1000))
    order = np.random.default_rng(0).permutation(1000)
    cut = world.impressions(order)
    for name, column in vars(whole).items():
        assert np.array_equal(getattr(cut, name), column[order], equal_nan=True), name
    other = replace(world, seed=8).impressions(np.arange(1000))
    assert (other.user_N != whole.user_N).mean() > 0.9


def test_spark_makes_the_same_rows_however_many_tasks(
    spark: SparkSession, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = night().impressions
    assert config.truth is not None
    truth = config.truth.model_copy(update={"impressions": 5000})
    config = config.model_copy(update={"truth": truth})
    generator = Generator.of(spark, truth, seed=7)
    assert np.array_equal(generator.world.factors.user_UK, world.factors.user_UK)
    one = generated_rows(spark, generator, config).toArrow()
    monkeypatch.setattr(truth_rows, "_TASK", 700)
    monkeypatch.setattr(truth_rows, "_AT_ONCE", 300)
    many = generated_rows(spark, generator, config)
    assert many.rdd.getNumPartitions() == 8
    assert many.toArrow().sort_by("impression_id").equals(one.sort_by("impression_id"))
    drawn = with_knobs(world, **truth.model_dump(exclude={"ratings"})).impressions(np.arange(5000))
    assert np.array_equal(one["click"], drawn.click_N)
    assert one["user"].to_pylist() == generator.users[drawn.user_N].tolist()
    assert one["fields"].to_pylist()[0] == []


def test_a_night_keeps_the_truth_from_all_but_the_evaluator(lake: Lake) -> None:
    config = night()
    assert config.impressions.truth is not None
    truth = config.impressions.truth.model_copy(update={"impressions": 20_000, "random_pairs": 2_000})
    config = config.model_copy(update={"impressions": config.impressions.model_copy(update={"truth": truth})})
    result = build_impressions.run(lake, config, DS)
    assert result.rows_in == result.rows_out == 22_000 and result.rows_later == 0
    assert result.details["left_out"] == {}
    rows = lake.to_arrow("impressions", lake.version("impressions"))
    assert not [name for name in rows.column_names if "probability" in name]
    end = datetime(1998, 3, 29, tzinfo=UTC)
    log = rows.filter(pa.compute.not_equal(rows["split"], "unbiased"))
    late = [
        row["time"].timestamp() + row["delay_seconds"] >= end.timestamp()
        for row in log.to_pylist()
        if row["conversion"]
    ]
    assert late and not any(late) and pa.compute.max(log["time"]).as_py() < end
    random = rows.filter(pa.compute.equal(rows["split"], "unbiased"))
    assert len(random) == 2_000 and random["click"].null_count == random["conversion"].null_count == 2_000
    judged = rows.filter(pa.compute.is_in(rows["split"], pa.array(["test", "unbiased"])))
    table = lake.to_arrow("conversion_truth", lake.version("conversion_truth"))
    assert sorted(table["impression_id"].to_pylist()) == sorted(judged["impression_id"].to_pylist())
    for name in ("click_probability", "conversion_probability"):
        assert pa.compute.min(table[name]).as_py() > 0 and pa.compute.max(table[name]).as_py() < 1
    of_random = pa.compute.starts_with(table["impression_id"], "r")
    mean = pa.compute.mean(table.filter(of_random)["conversion_probability"]).as_py()
    assert abs(mean / truth.conversion_rate - 1) < 0.15
