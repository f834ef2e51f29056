from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.benchmarks.bench_nld import distinct_edges, figures, measure


def test_edges_are_as_many_as_asked_for_and_differ() -> None:
    ends_2E = distinct_edges(np.random.default_rng(0), 200, 2000)
    assert ends_2E.shape == (2, 2000) and (ends_2E[0] != ends_2E[1]).all()
    assert len({frozenset(edge) for edge in ends_2E.T.tolist()}) == 2000


def test_figures_of_a_small_graph(spark: SparkSession, tmp_path: Path) -> None:
    run = measure(spark, tmp_path, 2000)
    assert (run["nodes"], run["edges"]) == (200, 2000) and run["bytes_written"] > 0


def test_growth_is_the_slope_of_the_logarithms() -> None:
    found = figures({10: {"seconds": 1.0}, 100: {"seconds": 10.0}, 1000: {"seconds": 1000.0}})
    assert found["seconds"] == 1000.0
    assert found["growth_exponent"] == pytest.approx(1.5)
    assert found["growth_exponent_by_step"] == [1.0, 2.0]
