"""Two ranks as processes on one device. They exchange tensors through the CPU by Gloo, as ranks under a Horovod without
NCCL do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

RANKS = 2


class GlooContext:
    """One of the ranks."""

    workers = RANKS

    def __init__(self, rank: int, device: str) -> None:
        self.rank, self.device = rank, torch.device(device)

    def allreduce(self, tensor: Tensor) -> None:
        buffer = tensor.cpu()
        dist.all_reduce(buffer)
        tensor.copy_(buffer)

    def broadcast(self, tensor: Tensor) -> None:
        buffer = tensor.cpu()
        dist.broadcast(buffer, src=0)
        tensor.copy_(buffer)

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        parts: list[Any] = [None] * RANKS
        dist.all_gather_object(parts, [each.cpu() for each in rows])
        return [torch.cat(each).to(own.device) for each, own in zip(zip(*parts, strict=True), rows, strict=True)]


def on_two_ranks(device: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work(context, *arguments)`` returns on rank 0. ``work`` is a function of a module."""
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        mp.start_processes(_rank, (folder, device, work, arguments), nprocs=RANKS, start_method="spawn")
        return torch.load(Path(folder, "0"))


def _rank(rank: int, folder: str, device: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    try:
        torch.save(work(GlooContext(rank, device), *arguments), Path(folder, str(rank)))
    finally:
        dist.destroy_process_group()
