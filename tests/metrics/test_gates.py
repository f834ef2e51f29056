"""Gates pass on what is good and stop what is not: bounds, and leakage checks of the metrics."""

from __future__ import annotations

import re
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from roilake.errors import ConfigError
from roilake.hashing import keyed_hash
from roilake.metrics import auc
from roilake.metrics.gates import GateResult, Measured, check_bounds
from roilake.metrics.intervals import Z95
from roilake.metrics.leakage import check_leak, check_shuffled, shuffled_auc
from roilake.runtime.registry import load_config
from tests.retrieval.scoring.small_night import DS, small_config

BEFORE = date(2020, 1, 9)
MODELS = ("interest_dot", "popularity")
AUCS = {"auc": "all", "gauc": "all"}
SLICES = {"gender": {"by": "user", "field": "g"}}
USERS = {"path": "none", "format": "csv", "key": "k", "fields": {"g": "g"}}


def row(value: float | None, name: str = "all", half: float | None = 0.01, **place: Any) -> dict[str, Any]:
    ends = {"low": None, "high": None} if half is None or value is None else {"low": value - half, "high": value + half}
    found = {"model": "interest_dot", "split": "test", "slice": name, "metric": "auc", "n": 9}
    return {**found, "value": value, **ends, **place}


def night(*bounds: dict[str, Any]) -> Any:
    base = small_config()
    source = {**base.source.model_dump(), "users": USERS}
    evaluation = {"slices": SLICES, "metrics": (*base.evaluation.metrics, "log_loss")}
    return small_config(source=source, evaluation=evaluation, gates={"bounds": list(bounds)})


def check(
    bound: dict[str, Any], now: list[dict], last: list[dict] | None = None, served: str = "interest_dot"
) -> list[GateResult]:
    """``served`` the last night, and interest_dot serves this one."""
    before = Measured() if last is None else Measured.of(BEFORE, last, served)
    return list(check_bounds(night({"metric": "auc", **bound}), Measured.of(DS, now, "interest_dot"), before))


def test_a_value_is_held_against_minimum_and_maximum() -> None:
    low, high = check({"minimum": 0.6, "maximum": 0.7}, [row(0.65)])
    assert low.passed and high.passed and (low.gate, high.gate) == ("minimum", "maximum")
    low, high = check({"minimum": 0.6, "maximum": 0.7}, [row(0.75), row(0.7, "gender=F"), row(0.9, "gender=M", 0.1)])
    assert low.passed and not high.passed
    assert high.line == (
        "maximum: test auc of interest_dot is 0.7500 [0.7400, 0.7600], must be at most 0.7; "
        "slice furthest from the whole: gender=F, 0.7000 [0.6900, 0.7100], all 0.7500 (-5.0 half-widths)"
    )
    assert "there is no slice to compare" in check({"minimum": 0.6}, [row(0.5)])[0].line
    both = check({"minimum": 0.6, "model": "all"}, [row(0.65), row(0.5, model="popularity")])
    assert [(result.model, result.passed) for result in both] == [("interest_dot", True), ("popularity", False)]


def test_what_was_not_measured_or_is_undefined_passes_no_bound() -> None:
    missing = check({"minimum": 0.6, "slice": "gender=X"}, [row(0.9), row(0.9, "gender=F")])[0]
    assert not missing.passed and "slices that were: all, gender=F" in missing.line
    undefined = check({"minimum": 0.6}, [row(None)])[0]
    assert not undefined.passed and "is undefined, must be at least 0.6" in undefined.line
    assert not check({"not_worse_than": "last"}, [row(None)], [row(0.9)])[0].passed


@pytest.mark.parametrize(
    ("changes", "now", "last", "passed"),
    [
        ({}, 0.885, 0.9, True),
        ({}, 0.875, 0.9, False),
        ({}, 0.99, 0.9, True),
        ({"metric": "log_loss"}, 0.92, 0.9, True),
        ({"metric": "log_loss"}, 0.93, 0.9, False),
        ({"slice": "delta_vs_default", "model": "popularity"}, -0.10, -0.15, False),
        ({"slice": "delta_vs_default", "model": "popularity"}, -0.20, -0.15, True),
    ],
)
def test_a_night_is_worse_when_the_intervals_say_so(
    changes: dict[str, str], now: float, last: float, passed: bool
) -> None:
    then, today = (row(last, changes.get("slice", "all"), **changes), row(now, changes.get("slice", "all"), **changes))
    found = check({"not_worse_than": "last", **changes}, [today], [then])[0]
    assert found.passed == passed and f"{last:.4f} [{last - 0.01:.4f}, {last + 0.01:.4f}] of 2020-01-09" in found.bound


def test_another_model_that_serves_is_held_against_the_one_before() -> None:
    """The bound that names no model is on what readers get."""
    last = [row(0.9), row(0.95, model="popularity")]
    alone, after = (check({"not_worse_than": "last"}, [row(0.9)], last, served)[0] for served in MODELS)
    assert alone.passed and not after.passed
    assert after.bound == "not worse than 0.9500 [0.9400, 0.9600] of 2020-01-09 by popularity"
    named = check({"not_worse_than": "last", "model": "interest_dot"}, [row(0.9)], last, "popularity")[0]
    assert named.passed


def test_the_model_that_serves_differs_from_itself_by_nothing() -> None:
    """As popularity does in a lake where nothing is better: a bound on its difference can be held."""
    itself = {"slice": "delta_vs_default", "model": "interest_dot"}
    most, least = (check({**itself, **bound}, [])[0] for bound in ({"maximum": 0}, {"minimum": 0.01}))
    assert (most.passed, most.value, most.low, most.high) == (True, 0, 0, 0)
    assert not least.passed and "is 0.0000 [0.0000, 0.0000], must be at least 0.01" in least.line


def test_without_a_night_or_an_interval_to_compare_with_a_bound_passes_and_says_so() -> None:
    bound = {"not_worse_than": "last"}
    first = check(bound, [row(0.1)])[0]
    assert first.passed and "no night was published before" in first.detail
    new = check(bound, [row(0.1)], [row(0.9, model="other")])[0]
    assert new.passed and "night 2020-01-09 has no such value" in new.detail
    alone = check(bound, [row(0.1, half=None)], [row(0.9)])[0]
    assert alone.passed and "cannot be told from noise" in alone.detail


def test_a_failed_bound_names_the_slice_that_moved_most_in_half_widths() -> None:
    last = [row(0.9), row(0.9, "gender=F"), row(0.9, "gender=M"), row(0.9, "day=1")]
    now = [
        row(0.8),
        row(0.85, "gender=F"),
        row(0.5, "gender=M", 0.2),
        row(0.1, "delta_vs_default"),
        row(0.2, "leakage_check"),
    ]
    found = check({"not_worse_than": "last"}, now, last)[0]
    assert found.detail == "slice that moved most: gender=F, 0.8500 [0.8400, 0.8600], was 0.9000 (-5.0 half-widths)"


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (
            {"metric": "acu", "minimum": 1},
            "gates.bounds.0.metric: the night has no metric 'acu' on split test; there are auc,",
        ),
        ({"metric": "auc", "model": "x", "minimum": 1}, "gates.bounds.0.model: the night has no model 'x'"),
        (
            {"metric": "auc", "slice": "age=3", "minimum": 1},
            "gates.bounds.0.slice: the night has no slice 'age=3' of auc on split test; there are all,",
        ),
        ({"metric": "auc"}, "auc has no bound; add minimum, maximum or not_worse_than: last"),
        ({"metric": "auc", "minimum": 1, "maximum": 0}, "minimum 1.0 is above maximum 0.0"),
        ({"metric": "auc", "minimum": float("nan")}, "bounds.0.minimum"),
        (
            {"metric": "auc", "minimum": 1, "split": "train"},
            "gates.bounds.0.split: the night has no split 'train'; there are validation, test",
        ),
        ({"metric": "auc", "lowest": 1}, "unknown key"),
        ({"metric": "popularity_bias@5", "not_worse_than": "last"}, "popularity_bias@5 has no better side"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_bad_gates_are_refused_with_file_and_key(tmp_path: Path, bound: dict, message: str, apart: bool) -> None:
    tree = small_config().model_dump(mode="json") | {"gates": {"bounds": [bound]}}
    tree["evaluation"]["metrics"].append("popularity_bias@5")
    if apart:
        (tmp_path / "gates.yaml").write_text(yaml.safe_dump(tree["gates"]))
        tree["gates"] = "gates.yaml"
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(tmp_path / "night.yaml")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_gates_in_a_file_of_their_own_count_in_the_digest(tmp_path: Path) -> None:
    tree = small_config().model_dump(mode="json") | {"gates": "gates.yaml"}
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(tree))
    digests = set()
    for least in (0.5, 0.6):
        (tmp_path / "gates.yaml").write_text(f"bounds: [{{metric: auc, minimum: {least}}}]")
        digests.add(load_config(tmp_path / "night.yaml").digest())
    assert len(digests) == 2
    (tmp_path / "gates.yaml").write_text("- auc")
    with pytest.raises(ConfigError, match=r"gates\.yaml: holds no mapping; start from conf/gates/retrieval\.yaml"):
        load_config(tmp_path / "night.yaml")


def test_the_interval_of_shuffled_labels_is_that_of_all_ways_to_deal_them() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.5, 0.9, 0.2, 0.2])
    values = [auc(np.isin(np.arange(7), ones).astype(float), scores) for ones in combinations(range(7), 3)]
    found = shuffled_auc([1, 1, 1, 0, 0, 0, 0], scores, np.arange(7))
    assert np.mean(values) == pytest.approx(0.5, abs=1e-12)
    reach = Z95 * np.std(values)
    assert found.low == pytest.approx(max(found.value - reach, 0), abs=1e-12)
    assert found.high == pytest.approx(min(found.value + reach, 1), abs=1e-12)
    assert found.value == auc([1, 1, 1, 0, 0, 0, 0], scores) and found.n == 3
    assert np.isnan(shuffled_auc([0, 0], [1.0, 2.0], [0, 1]).value)
    equal = shuffled_auc([1, 0, 0], [1.0, 1.0, 1.0], [0, 1, 2])
    assert (equal.value, equal.low, equal.high) == (0.5, 0.5, 0.5)


def test_shuffled_labels_lie_within_their_interval_as_often_as_said() -> None:
    """Scores that tell positives apart perfectly, and hang together by request."""
    labels = np.tile([1, 1, 0, 0, 0, 0, 0, 0], 40)
    scores = labels + np.repeat(np.arange(40), 8)
    found = [shuffled_auc(labels, scores, keyed_hash(seed, np.arange(320))) for seed in range(400)]
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) == pytest.approx(0.95, abs=0.04)
    assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.01)


def test_a_metric_that_is_worth_something_on_shuffled_labels_stops_the_night() -> None:
    place = {"metric": "auc_shuffled", "slice": "leakage_check"}
    good = [row(0.51, half=0.0051, **place), row(0.5, model="b", half=0.0, **place)]
    assert [result.passed for result in check_shuffled(Measured.of(DS, good), "evaluate")] == [True, True]
    failed = list(check_shuffled(Measured.of(DS, [*good, row(0.53, model="bad", **place)]), "evaluate"))[1]
    assert not failed.passed and "auc_shuffled of bad on leakage_check is 0.5300" in failed.line
    assert "must be 0.5 within its 99.99 % interval; a faulty metric" in failed.line
    without = list(check_shuffled(Measured.of(DS, [row(0.9)]), "evaluate"))
    assert [result.passed for result in without] == [True, False]
    assert "run evaluate again" in without[1].line


def test_aucs_that_are_all_above_99_percent_stop_the_night_on_either_split() -> None:
    good = [row(0.98), row(0.9, split="validation"), row(0.999, "gender=F"), row(None, metric="gauc")]
    assert all(result.passed for result in check_leak(Measured.of(DS, good), AUCS))
    for bad in (row(0.995, model="bad"), row(0.995, split="validation"), row(0.995, metric="gauc", model="other")):
        found = [result for result in check_leak(Measured.of(DS, [*good, bad]), AUCS) if not result.passed]
        assert [(r.split, r.metric, r.value) for r in found] == [(bad["split"], bad["metric"], 0.995)]
        assert "must be at most 0.99; likely a leak" in found[0].line


def test_one_auc_of_easy_negatives_is_no_leak_where_another_is_lower() -> None:
    easy = [row(0.998), row(0.94, metric="gauc")]
    (passed,) = check_leak(Measured.of(DS, easy), AUCS)
    assert passed.passed and (passed.metric, passed.value) == ("gauc", 0.94)
    (failed,) = check_leak(Measured.of(DS, [row(0.998), row(0.995, metric="gauc")]), AUCS)
    assert not failed.passed and (failed.metric, failed.value) == ("gauc", 0.995)
