"""What a piece of work costs: seconds, CPU seconds and resident memory over all processes, and disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_EVERY = 0.25  # seconds


@dataclass
class Cost:
    """``memory``: highest sum of resident bytes, pages shared by processes counted in each. ``disk``: highest
    number of bytes below the watched folders, beyond what was there at first."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    processes: dict[int, float] = field(default_factory=dict)


@contextmanager
def measured(*folders: Path) -> Iterator[Cost]:
    """Sample this process and all below it until the block ends."""
    cost, done = Cost(), threading.Event()
    disk_before, cpu_before = _disk(folders), _sample(Cost())
    began = time.monotonic()

    def watch() -> None:
        while not done.wait(_EVERY):
            _sample(cost)
            cost.disk = max(cost.disk, _disk(folders) - disk_before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - began
        done.set()
        thread.join()
        _sample(cost)
        cost.cpu_seconds = sum(s - cpu_before.processes.get(pid, 0.0) for pid, s in cost.processes.items())


def _sample(cost: Cost) -> Cost:
    memory = 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
                cost.processes[process.pid] = times.user + times.system
        except psutil.Error:
            continue
    cost.memory = max(cost.memory, memory)
    return cost


def _disk(folders: tuple[Path, ...]) -> int:
    total = 0
    for folder in folders:
        for place, _, files in os.walk(folder):
            for name in files:
                try:
                    total += os.stat(os.path.join(place, name)).st_size
                except OSError:
                    continue
    return total
