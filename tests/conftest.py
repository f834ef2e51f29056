"""The one Spark session of the test run, lakes to write to, and a night over a few events of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import SparkSession

from roilake.lake import Lake, Run
from roilake.lake.session import SMALL_NIGHT, spark_session
from roilake.pipelines.retrieval.config import RetrievalConfig

if TYPE_CHECKING:
    from tests.retrieval.two_nights import Nights

DS = date(2020, 1, 10)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that share the Spark session are marked, those that read its two nights, and those of conversion: `make
    test` runs parts beside each other."""
    for name in {"spark", "nights"}.intersection(getattr(item, "fixturenames", ())):
        item.add_marker(name)
    if "conversion" in item.path.relative_to(Path(__file__).parent).parts:
        item.add_marker("conversion")


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Two task slots, and four attempts a task, so that a test may let one fail. Plans are interpreted: to compile one
    takes longer than a test's few rows; the nights of ``.ci/run`` compile theirs."""
    settings = {
        "spark.master": "local[2,4]",
        "spark.driver.memory": "2g",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    session = spark_session("roilake-tests", overrides={**SMALL_NIGHT, **settings})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def nights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Two published nights on users of MovieLens-100K. They cost minutes: read them, write nothing to their lake."""
    from tests.retrieval.two_nights import run_nights  # the jobs and all they need: most tests do without

    return run_nights(spark, tmp_path_factory.mktemp("nights"))


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """A new, empty lake."""
    return Lake.open(spark, tmp_path / "lake", create=True)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """``make_run(ds, step)`` gives a Run to write with."""

    def make(ds: date = DS, step: str = "test") -> Run:
        return Run("test-run", "toy", ds, step, config_hash="test", code_revision="test")

    return make


@pytest.fixture
def make_night(tmp_path: Path) -> Callable[..., RetrievalConfig]:
    """``make_night(csv_text, source={...}, **sections)`` writes the text as ``events.csv`` (columns user, item,
    query, time by default) and gives a config that reads it. Windows: three days of training, one-day windows."""

    def make(text: str, *, source: dict[str, Any] | None = None, **sections: Any) -> RetrievalConfig:
        (tmp_path / "events.csv").write_text(text)
        columns = {"user": "user", "item": "item", "query": "query", "time": "time"}
        events = {"path": str(tmp_path / "events.csv"), "format": "csv", "columns": columns}
        tree: dict[str, Any] = {
            "pipeline": "retrieval",
            "name": "test",
            "source": {"events": events, **(source or {})},
            "windows": {"length": "1d", "train": 3, "validation": 1, "test": 1},
            "models": {"zoomer": {"kind": "zoomer"}},
        }
        return RetrievalConfig.model_validate(tree | sections)

    return make
