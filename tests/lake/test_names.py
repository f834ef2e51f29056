"""A lake's folder may have any name: Spark takes its paths as names, not as patterns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from roilake.lake import Lake, Run
from tests.conftest import DS


@pytest.mark.parametrize("name", ["my [lake] 100% é", "a{b,c}*:=d"])
def test_a_table_is_written_and_read_whatever_the_folders_name(
    spark: SparkSession, tmp_path: Path, make_run: Callable[..., Run], name: str
) -> None:
    lake = Lake.open(spark, tmp_path / name, create=True)
    row = {"pipeline": "toy", "ds": DS, "step": "test", "source": "s", "row_id": "i", "row": "{}", "reason": "é"}
    where = {"ds": DS, "step": "test"}
    lake.write("quarantine", spark.createDataFrame([row]), where=where, run=make_run())
    version = lake.write("quarantine", lake.read("quarantine"), where=where, run=make_run())  # its own rows again
    assert [found.asDict() for found in lake.read("quarantine").collect()] == [row]
    assert lake.to_arrow("quarantine", version).to_pylist() == [row]
    assert [folder.name for folder in tmp_path.iterdir()] == [name]


def test_a_session_is_started_when_it_is_first_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    asked: list[str] = []

    def start() -> SparkSession:
        asked.append("started")
        return spark

    lake = Lake(start, tmp_path / "lake")
    assert not lake.exists("events") and asked == []
    assert lake.spark is lake.spark is spark and asked == ["started"]
