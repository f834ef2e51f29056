"""Whether expanded events and the graph of them fit a machine, before hours are spent on finding out."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.estimate.past import defaults

EVENT_BYTES = 8.1  # of a row of expanded `events` at 1e9, compressed
_ROOM = 0.9  # of what is free


def check_room(edges: int, folder: Path) -> None:
    """Raises ConfigError, with the estimate, where ``edges`` events and one graph of them (no table ``edges``) need
    more than nine tenths of the disk that is free at ``folder`` or of the machine's memory."""
    rate = defaults().steps["build_graph"]
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    disk, memory = edges * (EVENT_BYTES + rate.bytes + rate.scratch), rate.memory(edges)
    free, total = shutil.disk_usage(there).free, psutil.virtual_memory().total
    if disk > _ROOM * free or memory > _ROOM * total:
        raise ConfigError(
            f"--edges {edges:.0e}: needs about {disk / 1e9:,.0f} GB of disk ({free / 1e9:,.0f} free at {there}), "
            f"{memory / 1e9:,.0f} GB of memory ({total / 1e9:,.0f} here) and {rate.seconds(edges) / 60:,.0f} minutes "
            f"for the graph; ask for fewer, or add --force"
        )
