"""Where a rank runs and how ranks talk: buffers on the CPU, whatever the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Context(Protocol):
    """One of ``workers`` ranks that run the same function. ``allreduce`` and ``broadcast`` work in place."""

    rank: int
    workers: int
    device: torch.device

    def allreduce(self, flat: Tensor) -> None:
        """Replace ``flat`` [n] by its sum over all ranks."""

    def broadcast(self, flat: Tensor) -> None:
        """Replace ``flat`` [n] by rank 0's."""

    def allgather(self, rows: Tensor) -> Tensor:
        """Rows of all ranks, one rank's behind the other's; ranks may have different numbers of rows."""


class LocalContext:
    """The only rank: collectives change nothing."""

    rank, workers = 0, 1

    def __init__(self) -> None:
        self.device = pick_device(0)

    def allreduce(self, flat: Tensor) -> None:
        pass

    def broadcast(self, flat: Tensor) -> None:
        pass

    def allgather(self, rows: Tensor) -> Tensor:
        return rows


class HorovodContext:
    """A rank under Horovod with Gloo. ``horovod.torch.init`` must have been called."""

    def __init__(self) -> None:
        import horovod.torch as hvd

        self._hvd = hvd
        self.rank, self.workers = hvd.rank(), hvd.size()
        self.device = pick_device(hvd.local_rank())

    def allreduce(self, flat: Tensor) -> None:
        buffer = flat.cpu()
        self._hvd.allreduce_(buffer, op=self._hvd.Sum, name="roilake.allreduce")
        if buffer is not flat:
            flat.copy_(buffer)

    def broadcast(self, flat: Tensor) -> None:
        buffer = flat.cpu()
        self._hvd.broadcast_(buffer, root_rank=0, name="roilake.broadcast")
        if buffer is not flat:
            flat.copy_(buffer)

    def allgather(self, rows: Tensor) -> Tensor:
        gathered: Tensor = self._hvd.allgather(rows.cpu(), name=f"roilake.allgather.{rows.dtype}")
        return gathered.to(rows.device)


def pick_device(local_rank: int) -> torch.device:
    """The CUDA device of this rank on its machine, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


@contextmanager
def one_thread() -> Iterator[None]:
    """For tensors so small that a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def deterministic_torch(workers: int) -> Iterator[None]:
    """Deterministic kernels and a fixed share of the machine's cores, so that a rerun gives the same weights."""
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads)
