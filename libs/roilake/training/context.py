"""Where a rank runs and how ranks exchange tensors."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

Determinism = Literal["strict", "fast"]
DataclassT = TypeVar("DataclassT")
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # each process would say so
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def _keep_freed_memory() -> None:
    """glibc gives large blocks back to the kernel as they are freed, and the next step has each of their pages made
    anew: up to a third of a CPU's time. Here a process keeps up to 512 MiB of what it freed."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_MMAP_THRESHOLD, 256 << 20)
        mallopt(_TRIM_THRESHOLD, 512 << 20)


_keep_freed_memory()  # in each process that runs torch


class Context(Protocol):
    """One of ``workers`` ranks that run the same function. ``allreduce`` and ``broadcast`` work in place."""

    rank: int
    workers: int
    device: torch.device

    def allreduce(self, tensor: Tensor) -> None:
        """Replace ``tensor`` by its sum over all ranks."""

    def broadcast(self, tensor: Tensor) -> None:
        """Replace ``tensor`` by rank 0's."""

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        """Of each tensor the rows of all ranks, one rank's behind the other's. Ranks may have different numbers of
        rows. All tensors together cost one exchange."""


class LocalContext:
    """The only rank: collectives change nothing."""

    rank, workers = 0, 1

    def __init__(self) -> None:
        self.device = pick_device(0)

    def allreduce(self, tensor: Tensor) -> None:
        pass

    def broadcast(self, tensor: Tensor) -> None:
        pass

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        return list(rows)


class HorovodContext:
    """A rank under Horovod. ``horovod.torch.init`` must have been called. Tensors on a GPU are exchanged there where
    Horovod was built with NCCL, and through the CPU where it has Gloo only."""

    def __init__(self) -> None:
        import horovod.torch as hvd

        self._hvd = hvd
        self.rank, self.workers = hvd.rank(), hvd.size()
        self.device = pick_device(hvd.local_rank())

    def allreduce(self, tensor: Tensor) -> None:
        name = f"roilake.allreduce.{tensor.dtype}.{tensor.numel()}"  # one of another size would miss Horovod's cache
        self._in_place(tensor, lambda buffer: self._hvd.allreduce_(buffer, op=self._hvd.Sum, name=name))

    def broadcast(self, tensor: Tensor) -> None:
        self._in_place(tensor, lambda b: self._hvd.broadcast_(b, root_rank=0, name="roilake.broadcast"))

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        name = f"roilake.allgather.{'.'.join(str(each.dtype) for each in rows)}"
        gathered = self._hvd.grouped_allgather([self._reached(each) for each in rows], name=name)
        return [whole.to(each.device) for whole, each in zip(gathered, rows, strict=True)]

    def _in_place(self, tensor: Tensor, collective: Callable[[Tensor], object]) -> None:
        buffer = self._reached(tensor)
        collective(buffer)
        if buffer is not tensor:
            tensor.copy_(buffer)

    def _reached(self, tensor: Tensor) -> Tensor:
        """The tensor, or a copy of it that the collectives of this build can reach."""
        return tensor if self._hvd.nccl_built() else tensor.cpu()


def pick_device(local_rank: int) -> torch.device:
    """The CUDA device of this rank on its machine, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def to_device(batch: DataclassT, device: torch.device) -> DataclassT:
    """A dataclass of tensors with all of them on ``device``."""
    moved = {field.name: getattr(batch, field.name).to(device) for field in fields(batch)}  # type: ignore[arg-type]
    return replace(batch, **moved)  # type: ignore[type-var]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch have so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def determinism(mode: Determinism) -> Iterator[None]:
    """``strict``: deterministic kernels, so that a rerun gives the same weights. ``fast``: any kernel, and on a GPU
    TF32 products and convolutions, of these the ones that are measured to be the fastest."""
    fast, cuda, cudnn = mode == "fast", torch.backends.cuda.matmul, torch.backends.cudnn
    before = torch.get_deterministic_debug_mode(), cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # use_deterministic_algorithms would import the compiler too, for seconds
    torch.set_deterministic_debug_mode("default" if fast else "error")
    cuda.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = fast  # torch's own default is TF32 in convolutions
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before[1:]
