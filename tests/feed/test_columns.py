"""Columns of parquet files, read by threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roilake.feed import read_columns


class Slowly(list[str]):
    """Names that one goes through slowly, so that the reader's threads are ahead."""

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            time.sleep(0.01)
            yield name


def test_lists_are_made_equally_long_whatever_the_reader_does_meanwhile(tmp_path: Path) -> None:
    lists = [[row] * (1 + row % 3) for row in range(40)]
    rows = pa.table({"lists": pa.array(lists, pa.list_(pa.int32())), "row": np.arange(40)})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=1)
    edit = "lists", np.int32, 2, lambda column: np.array([[*each, -1][:2] for each in column], np.int32)
    found = read_columns([str(tmp_path / "rows.parquet")], Slowly(["lists", "row"]), edit=edit)
    order = np.argsort(found["row"])
    assert found["lists"][order].tolist() == [[*each, -1][:2] for each in lists]
