"""Real Horovod processes. One launch costs seconds, so each shows as much as it can."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pyspark.sql import SparkSession

from roilake.errors import ConfigError
from roilake.training import Context, LocalContext, TrainingError, launch
from roilake.training.context import HorovodContext
from tests.retrieval.training.data import train_tiny, training_data
from tests.training.toy import train_toy


def test_two_workers_are_one_worker_at_the_same_global_batch(spark: SparkSession, tmp_path: Path) -> None:
    """A retrieval model, and a toy with batch normalisation."""
    data = training_data(tmp_path)  # once: a rank would write the files anew while another one reads them

    def both(context: Context, folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], list[float]]:
        weights, progress = train_toy(folder / "toy", context)
        losses = [point["loss"] for point in progress.curve]
        return train_tiny(data, folder / "tiny", context), weights, losses

    one, toy, toy_losses = both(LocalContext(), tmp_path / "one")
    two, toy_two, toy_two_losses = launch(lambda context: both(context, tmp_path / "two"), 2, spark)
    assert (one["workers"], one["rows"]) == (1, 16)
    assert (two["workers"], two["rows"]) == (2, 8)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["validations"][-1]["auc"] == pytest.approx(one["validations"][-1]["auc"], abs=1e-3)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], tensor, atol=1e-3, rtol=1e-3)
    assert toy_two_losses == pytest.approx(toy_losses, abs=1e-5)
    for name, tensor in toy.items():
        torch.testing.assert_close(toy_two[name], tensor, atol=1e-5, rtol=1e-5)


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


@pytest.mark.parametrize("nccl", [True, False])
def test_tensors_are_exchanged_where_they_lie_if_horovod_can(nccl: bool) -> None:
    class OnGpu:
        """Stands for a tensor on a GPU: notes what is copied to and from the CPU."""

        dtype, copies = torch.float32, 0

        def numel(self) -> int:
            return 2

        def cpu(self) -> torch.Tensor:
            return torch.ones(2)

        def copy_(self, other: torch.Tensor) -> None:
            assert other.tolist() == [1.0, 1.0]
            self.copies += 1

    exchanged = []
    context = HorovodContext.__new__(HorovodContext)
    context._hvd = SimpleNamespace(
        Sum=None, nccl_built=lambda: nccl, allreduce_=lambda buffer, **_: exchanged.append(buffer)
    )
    tensor: Any = OnGpu()
    context.allreduce(tensor)
    assert (exchanged[0] is tensor) == nccl and tensor.copies == (not nccl)
