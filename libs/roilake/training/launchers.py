"""Run one function on one or many ranks: in this process, or under Horovod on Spark."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from roilake import log
from roilake.errors import ConfigError, RoilakeError
from roilake.training.context import Context, HorovodContext, LocalContext, determinism, threads

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class TrainingError(RoilakeError):
    """A rank failed; the message is that of the rank that failed first."""


def launch(train: Callable[[Context], T], workers: int, spark: SparkSession | None = None) -> T:
    """Call ``train(context)`` on ``workers`` ranks at a time and return what rank 0 returned.

    One worker runs in this process. More run as Horovod processes, one in each of as many Spark tasks, and exchange
    tensors by Gloo; ``train`` then travels there by cloudpickle and must not hold a Spark session. Ranks share the
    machine's cores and use deterministic kernels, but where a task wants ``fast`` ones. If any rank fails, all are
    ended and TrainingError has its error."""
    if workers == 1:
        return _run(train, LocalContext())
    slots = spark.sparkContext.defaultParallelism if spark else 0
    if slots < workers:
        raise ConfigError(
            f"training.workers: {workers} ranks need as many Spark task slots, but there are {slots}: give the master "
            f"more cores (e.g. local[{workers}]) or lower training.workers"
        )
    return _launch_horovod(train, workers)


def _run(train: Callable[[Context], T], context: Context) -> T:
    with threads((os.cpu_count() or 1) // context.workers), determinism("strict"):
        return train(context)


def _launch_horovod(train: Callable[[Context], T], workers: int) -> T:
    """One Horovod process in each of so many Spark tasks; what rank 0 returned."""
    import horovod.spark

    try:
        with patch("horovod.spark.runner._make_mapper", _mapper_that_ends(horovod.spark.runner._make_mapper)):
            # Output is not captured: Horovod would hold it back until the end.
            outcomes = horovod.spark.run(_rank_main, (train, log.form()), num_proc=workers, use_gloo=True, verbose=0)
    except RuntimeError as error:
        raise TrainingError(
            f"one of {workers} ranks was ended from outside (killed, out of memory?): {error}"
        ) from error
    failures = [outcome for outcome in outcomes if isinstance(outcome, _Failure)]
    if failures:
        first = min(failures, key=lambda failure: (failure.is_echo, failure.rank))
        _LOG.error(first.trace)
        raise TrainingError(f"rank {first.rank} of {workers} failed: {first.message}")
    return outcomes[0]


def _mapper_that_ends(make: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    """Horovod 0.28's tasks that end with their rank: they would sleep three seconds then, meant to be counted from the
    rank's start, which would only help a rank that lives for less."""

    def make_mapper(*arguments: Any) -> Callable[..., Any]:
        mapper = make(*arguments)

        def ending(index: int, rows: Any) -> Any:
            from horovod.spark import runner

            runner.MINIMUM_COMMAND_LIFETIME_S = None
            return mapper(index, rows)

        return ending

    return make_mapper


@dataclass(frozen=True)
class _Failure:
    """A rank's error. ``is_echo``: it only failed because another rank had left."""

    rank: int
    message: str
    trace: str
    is_echo: bool


def _rank_main(train: Callable[[Context], T], form: log.Form) -> T | _Failure | None:
    """Runs in each Horovod process; only rank 0's result travels back. A rank that fails shuts Horovod down, which
    makes the others' next collective fail, so that every rank ends and the error of the first reaches the driver."""
    import horovod.torch as hvd
    from horovod.common.exceptions import HorovodInternalError

    hvd.init()
    log.configure(form)
    rank = hvd.rank()
    try:
        result = _run(train, HorovodContext())
        return result if rank == 0 else None
    except Exception as error:
        message = str(error) if isinstance(error, RoilakeError) else f"{type(error).__name__}: {error}"
        return _Failure(rank, message, traceback.format_exc(), isinstance(error, HorovodInternalError))
    finally:
        hvd.shutdown()
