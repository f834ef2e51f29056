"""Real Horovod processes. One launch costs seconds, so each shows as much as it can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pyspark.sql import SparkSession

from roilake.errors import ConfigError
from roilake.training import Context, LocalContext, TrainingError, launch
from tests.retrieval.training.data import train_tiny, training_data


def test_two_workers_are_one_worker_at_the_same_global_batch(spark: SparkSession, tmp_path: Path) -> None:
    training_data(tmp_path)  # ranks find the files in place
    one = train_tiny(tmp_path, tmp_path / "one", LocalContext())
    two = launch(lambda context: train_tiny(tmp_path, tmp_path / "two", context), 2, spark)
    assert (one["workers"], one["rows"]) == (1, 16)
    assert (two["workers"], two["rows"]) == (2, 8)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["epochs"][-1]["auc"] == pytest.approx(one["epochs"][-1]["auc"], abs=1e-3)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], tensor, atol=1e-3, rtol=1e-3)


def test_an_error_of_any_rank_ends_the_launch_and_is_told(spark: SparkSession) -> None:
    def broken(context: Context) -> None:
        if context.rank == 1:
            raise ValueError("row 7 of the shard is bad")
        context.allreduce(torch.zeros(3))  # would wait for rank 1 for ever

    with pytest.raises(TrainingError, match="rank 1 of 2 failed: ValueError: row 7 of the shard is bad"):
        launch(broken, 2, spark)


def test_too_few_slots_are_named(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match="64 ranks need as many Spark task slots"):
        launch(lambda context: None, 64, spark)
