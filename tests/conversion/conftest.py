"""One small night of conversions for all tests that ask for it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pyspark.sql import SparkSession

from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.runtime.night import run_night
from roilake.runtime.step import StepResult
from tests.conversion.small import DS, generated_night


@dataclass(frozen=True)
class Night:
    lake: Lake
    config: ConversionConfig
    results: dict[str, StepResult]


@pytest.fixture(scope="session")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A published night on a generated log, by two Horovod workers. Write nothing to its lake."""
    lake = Lake.open(spark, tmp_path_factory.mktemp("conversions") / "lake", create=True)
    config = generated_night()
    return Night(lake, config, {result.step: result for result in run_night(lake, config, DS)})
