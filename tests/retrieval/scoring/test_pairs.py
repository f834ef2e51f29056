"""Probabilities of pairs are found by both ids, and order lists by expected conversions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roilake.lake import DataFile
from roilake.pipelines.retrieval.scoring.recommend import by_expected_conversions, pair_probabilities


def write(path: Path, users: range) -> DataFile:
    """Three items a user; pctr = user / 100, pcvr = item / 100, no pctr of user 5."""
    pairs = [(user, item) for user in users for item in (2, 30, 1 << 30)]
    rows = [
        {"user": user, "item": item, "pctr": None if user == 5 else user / 100, "pcvr": (item % 99) / 100}
        for user, item in pairs
    ]
    types = {"user": pa.int32(), "item": pa.int32(), "pctr": pa.float32(), "pcvr": pa.float32()}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types.items())), path, row_group_size=4)
    return DataFile(str(path), {}, len(rows), 0)


def test_pairs_are_found_by_both_ids(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.parquet", range(4)), write(tmp_path / "b.parquet", range(4, 9))]
    user = np.array([7, 0, 7, 8, 99, 5, 7], np.int32)
    item = np.array([30, 2, 3, 1 << 30, 2, 30, 30])
    pctr, pcvr = pair_probabilities(files, user, item)
    assert np.allclose(pctr, [0.07, 0, np.nan, 0.08, np.nan, np.nan, 0.07], equal_nan=True)
    assert np.allclose(pcvr, [0.3, 0.02, np.nan, (1 << 30) % 99 / 100, np.nan, 0.3, 0.3], equal_nan=True)
    assert all(np.isnan(found).all() for found in pair_probabilities([], user, item))
    assert all(len(found) == 0 for found in pair_probabilities(files, user[:0], item[:0]))


def test_lists_come_by_expected_conversions_and_ties_stay() -> None:
    row = np.array([0, 0, 0, 0, 1, 1, 1])
    pctr = np.array([0.5, 0.1, np.nan, 0.1, 0.2, np.nan, 0.4])
    pcvr = np.array([0.1, 0.5, 0.9, 0.9, 0.5, np.nan, 0.5])
    assert by_expected_conversions(row, pctr, pcvr).tolist() == [3, 0, 1, 2, 6, 4, 5]
    assert by_expected_conversions(row, np.full(7, np.nan), pcvr).tolist() == list(range(7))
