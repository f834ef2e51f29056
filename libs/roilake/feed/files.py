"""The active files of one pinned table version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roilake.lake import DataFile

if TYPE_CHECKING:
    from roilake.lake import Lake


def files_of(lake: Lake, table: str, version: int, **partition: object) -> tuple[DataFile, ...]:
    """The active files of ``table`` at ``version`` in the partitions named, e.g. ``ds=ds, side="request"``."""
    wanted = {name: str(value) for name, value in partition.items()}
    return tuple(
        file
        for file in lake.active_files(table, version)
        if all(file.partition[name] == value for name, value in wanted.items())
    )
