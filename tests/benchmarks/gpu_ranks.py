"""Two ranks as processes on one device. They exchange tensors through the CPU by Gloo, as ranks under a Horovod without
NCCL do."""

from __future__ import annotations

import json
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
        return [self._gathered(own) for own in rows]

    def _gathered(self, own: Tensor) -> Tensor:
        """The rows of all ranks, which may have different numbers of them: sent with as many as the most."""
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(RANKS)]
        dist.all_gather(counts, torch.tensor([len(own)]))
        filled = torch.zeros((int(max(counts)), *own.shape[1:]), dtype=own.dtype)
        filled[: len(own)] = own.cpu()
        parts = [torch.empty_like(filled) for _ in range(RANKS)]
        dist.all_gather(parts, filled)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]).to(own.device)


def on_two_ranks(device: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work(context, *arguments)`` returns on rank 0, which JSON can hold. ``work`` is a function of a module."""
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        mp.start_processes(_rank, (folder, device, work, arguments), nprocs=RANKS, start_method="spawn")
        return json.loads(Path(folder, "0").read_text())


def _rank(rank: int, folder: str, device: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    try:
        Path(folder, str(rank)).write_text(json.dumps(work(GlooContext(rank, device), *arguments)))
    finally:
        dist.destroy_process_group()
