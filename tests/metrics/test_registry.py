"""Metrics are declared once: what shows, bounds or computes one reads that; a pipeline adds its own from outside."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from roilake.config import NightConfig
from roilake.errors import MetricError
from roilake.metrics import measure_arrays, measure_table, registry
from roilake.metrics.classification import Labelled, ratio
from roilake.metrics.intervals import Summed
from roilake.metrics.observed import by_user
from roilake.metrics.registry import Metric, direction, group_of, in_order, label, parse, register
from tests.metrics.labelled import METRICS, labelled


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_METRICS", dict(registry._METRICS))


def base_rate(data: Labelled, user_N: Any, users: int) -> Summed:
    """The weighted share of positives."""
    columns = (data.weights * data.labels, data.weights)
    return Summed(by_user(columns, user_N, users), ratio, len(data.labels))


BASE_RATE = Metric("base_rate", "Base rate", "probability", -1, f"{__name__}:base_rate", "scores")
OWN = Metric("own_error", "Own error", "ranking", -1, f"{__name__}:base_rate", at_k="must")


def test_a_metric_declared_outside_is_computed_and_shown() -> None:
    register(BASE_RATE, after="auc")
    rows = {name: column for name, column in labelled().items() if name != "others"}
    found = measure_arrays(**rows, metrics=["base_rate"])["base_rate"]
    assert found.value == pytest.approx(np.average(rows["labels"], weights=rows["weights"]))
    assert found.low < found.value < found.high
    with pytest.raises(MetricError, match="base_rate is not computed over a table; there are auc, gauc"):
        measure_table(None, ["base_rate"])  # type: ignore[arg-type]
    assert (label("base_rate"), group_of("base_rate"), direction("base_rate")) == ("Base rate", "probability", -1)
    assert in_order(["gauc", "base_rate", "auc"]) == ["auc", "base_rate", "gauc"]


def test_a_metric_of_one_pipeline_is_unknown_to_others() -> None:
    register(OWN)
    assert parse("own_error@5", own=("own_error",)) == (OWN, 5)
    assert (label("own_error@5"), direction("own_error@5"), in_order(["own_error@5", "map"])[1]) == (
        "Own error @5", -1, "own_error@5",
    )  # fmt: skip
    for name, own in (("own_error@5", ()), ("own_error", ("own_error",)), ("auc@5", ())):
        with pytest.raises(MetricError, match=f"unknown metric '{name}'; there are auc, "):
            parse(name, own)


def test_a_name_is_registered_once() -> None:
    register(BASE_RATE)
    assert register(BASE_RATE) is not None  # a module that is loaded again
    with pytest.raises(MetricError, match="metric base_rate is registered twice"):
        register(Metric("base_rate", "Other", "lists", 0, "a:b"))
    with pytest.raises(MetricError, match="no group 'colour'; there are separation, ranking"):
        register(Metric("red", "Red", "colour", 0, "a:b"))


def test_what_only_an_older_night_knows_is_still_shown() -> None:
    assert (label("odd@3"), group_of("odd@3"), direction("odd@3")) == ("odd @3", "lists", 0)
    assert in_order(["odd@3", "popularity_bias@5", "auc"])[-1] == "odd@3"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_function_and_a_group(name: str) -> None:
    metric, _ = parse(name)
    assert callable(metric.compute) and metric.group in registry.GROUPS and metric.label


class Toy(NightConfig):
    """A night that measures one metric of its own."""

    def measured(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return {"test": {"own_error@5": ("all", "colour=VALUE")}}


def test_bounds_of_any_pipeline_are_checked_against_what_it_measures() -> None:
    register(OWN)
    base = {"pipeline": "toy", "name": "n", "default_model": "m"}

    def night(**bound: Any) -> Toy:
        bounds = [{"metric": "own_error@5", "not_worse_than": "last", **bound}]
        return Toy.model_validate({**base, "gates": {"bounds": bounds}})

    assert night().gates.bounds and night(slice="colour=red").gates.bounds and night(model="all").gates.bounds
    for bound, message in (
        ({"model": "x"}, "no model 'x'; there are m, all"),
        ({"split": "train"}, "no split 'train'; there are test"),
        ({"metric": "auc"}, "no metric 'auc' on split test; there are own_error@5"),
        ({"slice": "size=3"}, "no slice 'size=3' of own_error@5 on split test; there are all, colour=VALUE"),
    ):
        with pytest.raises(ValueError, match=message):
            night(**bound)
    with pytest.raises(ValueError, match="no split 'test'; there are none"):
        NightConfig.model_validate({**base, "gates": {"bounds": [{"metric": "auc", "minimum": 0}]}})


def test_configs_load_neither_spark_nor_evaluation() -> None:
    code = (
        "import sys, roilake.config, roilake.metrics.registry; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'pyspark', 'torch', 'scipy', 'pyarrow'})); "
        "import roilake.pipelines.retrieval.config, roilake.pipelines.conversion.config; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('pyspark', 'torch', 'scipy') or 'evaluation' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
