"""The files of a table version, and their columns by petastorm: the one place that knows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from roilake.lake import DataFile, Lake

Columns = dict[str, NDArray[Any]]
Edit = tuple[str, type, int, Callable[[pd.Series], NDArray[Any]]]
"""A column of lists to make equally long: its name, its type, the length, and how."""


def files_of(lake: Lake, table: str, version: int, **partition: object) -> tuple[DataFile, ...]:
    """The active files of ``table`` at ``version`` in the partitions named, to be taken along to tasks and ranks."""
    return tuple(lake.active_files(table, version, **partition))


def read_columns(
    paths: Sequence[str], names: Sequence[str], *, edit: Edit | None = None, part: tuple[int, int] | None = None
) -> Columns:
    """Columns of all rows, in no particular order; lists, which must be equally long, as [R, k]. ``part`` (n, of): each
    ``of``-th row group from number n on. Empty when there are no files."""
    if not paths:
        return {}
    # petastorm uses the legacy pyarrow dataset. Its threads warn too, so a filter for the time of a call won't do.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    from petastorm import TransformSpec, make_batch_reader

    transform = None
    if edit is not None:
        edited, dtype, length, make = edit  # a name of its own: threads transform while the loop below goes on
        transform = TransformSpec(
            lambda frame: frame.assign(**{edited: list(make(frame[edited]))}),
            edit_fields=[(edited, dtype, (length,), False)],
        )
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    reader = make_batch_reader(
        [f"file://{path}" for path in paths],
        schema_fields=[f"^{name}$" for name in names],
        transform_spec=transform,
        reader_pool_type="thread",
        workers_count=2,
        shuffle_row_groups=False,
        num_epochs=1,
        cur_shard=part[0] if part else None,
        shard_count=part[1] if part else None,
    )
    try:
        for group in reader:
            for name in names:
                parts[name].append(getattr(group, name))
    finally:  # not its context manager: that prints on stdout
        reader.stop()
        reader.join()
    return {name: np.concatenate(groups) for name, groups in parts.items() if groups}
