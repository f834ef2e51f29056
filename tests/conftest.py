"""The one Spark session of the test run, and lakes to write to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from roilake.lake import Lake, Run, spark_session

DS = date(2020, 1, 10)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Two task slots, and four attempts a task, so that a test may let one fail."""
    session = spark_session(
        "roilake-tests", overrides={"spark.master": "local[2,4]", "spark.driver.memory": "2g"}
    )
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """A new, empty lake."""
    return Lake.open(spark, tmp_path / "lake", create=True)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """``make_run(ds, job)`` gives a Run to write with."""

    def make(ds: date = DS, job: str = "test") -> Run:
        return Run(run_id="test-run", ds=ds, job=job, config_hash="test", code_revision="test")

    return make
