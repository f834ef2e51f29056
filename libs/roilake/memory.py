"""Resident memory of this process and all below it, watched while something runs; and what the machine has."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil

_LIMIT = Path("/sys/fs/cgroup/memory.max")
_EVERY = 0.5  # seconds


class PeakMemory:
    """Samples from its start to ``stop``, whose value is the highest sum of resident bytes over processes; pages that
    processes share count in each. On a cluster it sees the driver's machine only, and under spark-submit, where the
    JVM starts Python, no JVM."""

    def __init__(self) -> None:
        self._done, self._most = threading.Event(), resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End the watch; the most bytes that were seen. A second call gives the same number or a larger one."""
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            self._most = max(self._most, resident())
        self._most = max(self._most, resident())


def installed() -> int:
    """Bytes that this machine has, or its container may take."""
    most = psutil.virtual_memory().total
    said = _LIMIT.read_text().strip() if _LIMIT.exists() else ""
    return min(most, int(said)) if said.isdigit() else most


def resident() -> int:
    """Bytes now."""
    me, total = psutil.Process(), 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has ended
            continue
    return total
