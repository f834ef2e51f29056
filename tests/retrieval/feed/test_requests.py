from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roilake.errors import ConfigError
from roilake.lake import DataFile
from roilake.pipelines.retrieval.feed.requests import RequestFeed
from roilake.pipelines.retrieval.feed.rows import HistoryItems
from roilake.pipelines.retrieval.histories import Histories
from roilake.pipelines.retrieval.models.batch import RequestBatch
from roilake.pipelines.retrieval.roi.layout import REQUEST_ROOTS, RoiLayout
from tests.retrieval.feed.data import ITEMS, USERS, WINDOW, at, write_histories, write_requests

LAYOUT = RoiLayout.of(({"user_item": 2, "query_item": 3, "user_query": 1},), REQUEST_ROOTS)


@pytest.fixture()
def files(tmp_path: Path) -> list[DataFile]:
    """Seven uneven files over four shards in one window, and a second window that lacks two shards."""
    later = WINDOW + timedelta(days=7)
    return [
        *write_requests(tmp_path, [31, 5, 17, 40, 1, 22, 9], shards=4, layout=LAYOUT),
        *write_requests(tmp_path, [13, 6], shards=4, layout=LAYOUT, as_of=later, first=1000),
    ]


def feed(files: list[DataFile], rank: int = 0, workers: int = 1, **options: Any) -> RequestFeed:
    arguments = {"layout": LAYOUT, "shards": 4, "batch_size": 16, "positives": 3, "seed": 5, **options}
    return RequestFeed(files, rank=rank, workers=workers, **arguments)


def rows(batch: RequestBatch) -> Counter[tuple[float, ...]]:
    """Real rows of a batch, all columns."""
    single = [batch.user_B[:, None], batch.query_B[:, None], batch.time_B[:, None]]
    trees = [batch.neighbours_BS, batch.relevance_BS, batch.linked_BS, batch.recency_BS]
    columns = torch.cat([*single, *trees, batch.history_BL, batch.positives_BP], dim=1)
    return Counter(tuple(row) for row in columns[batch.weight_B > 0].tolist())


def epoch(files: list[DataFile], workers: int, number: int = 0) -> list[list[tuple[date, RequestBatch]]]:
    return [list(feed(files, rank, workers).batches(number)) for rank in range(workers)]


@pytest.mark.parametrize("workers", [2, 4])
def test_ranks_make_equal_steps_and_the_same_global_batches(files: list[DataFile], workers: int) -> None:
    single = epoch(files, 1)[0]
    ranks = epoch(files, workers)
    assert {len(batches) for batches in ranks} == {len(single)} == {feed(files).steps}
    for step, (as_of, batch) in enumerate(single):
        parts = [batches[step] for batches in ranks]
        assert {part_as_of for part_as_of, _ in parts} == {as_of}
        assert {len(part.user_B) for _, part in parts} == {16 // workers}
        assert sum((rows(part) for _, part in parts), Counter()) == rows(batch)


def test_an_epoch_holds_each_row_once_and_pads_the_rest(files: list[DataFile]) -> None:
    batches = epoch(files, 1)[0]
    assert sum(int(batch.weight_B.sum()) for _, batch in batches) == sum(file.rows for file in files)
    padded = torch.cat([batch.positives_BP[batch.weight_B == 0] for _, batch in batches])
    assert len(padded) and (padded == -1).all()
    neighbours = torch.cat([batch.neighbours_BS[batch.weight_B == 0] for _, batch in batches])
    assert (neighbours == -1).all()


def test_epochs_differ_in_order_and_repeat_by_seed(files: list[DataFile]) -> None:
    first, again, second = epoch(files, 1)[0], epoch(files, 1)[0], epoch(files, 1, 1)[0]
    for (_, batch), (_, same) in zip(first, again, strict=True):
        assert torch.equal(batch.neighbours_BS, same.neighbours_BS)
    assert any(rows(a[1]) != rows(b[1]) for a, b in zip(first, second, strict=True))
    total = [sum((rows(batch) for _, batch in batches), Counter()) for batches in (first, second)]
    assert total[0] == total[1]


def test_order_of_files_and_cache_do_not_matter(files: list[DataFile]) -> None:
    expected = epoch(files, 1)[0]
    uncached = feed(list(reversed(files)), cache_bytes=0)
    for _ in range(2):
        for (as_of, batch), (other, same) in zip(expected, uncached.batches(0), strict=True):
            assert as_of == other
            assert torch.equal(batch.positives_BP, same.positives_BP)
            assert torch.equal(batch.relevance_BS, same.relevance_BS)


@pytest.mark.parametrize("start", [0, 1, 4, 100])
def test_starting_at_a_step_skips_the_ones_before(files: list[DataFile], start: int) -> None:
    expected = epoch(files, 1)[0][start:]
    resumed = list(feed(files).batches(0, start))
    assert len(resumed) == len(expected)
    for (_, batch), (_, same) in zip(expected, resumed, strict=True):
        assert torch.equal(batch.user_B, same.user_B)


def test_windows_come_forth_and_back(files: list[DataFile]) -> None:
    forth, back = ([as_of for as_of, _ in feed(files).batches(0, back=back)] for back in (False, True))
    assert forth == sorted(forth) and back == sorted(forth, reverse=True) and len(set(forth)) > 1


def test_values_arrive_as_stored(tmp_path: Path) -> None:
    files = write_requests(tmp_path, [5], shards=1, layout=LAYOUT, first=7)
    _, batch = next(RequestFeed(files, layout=LAYOUT, shards=1, batch_size=5, positives=2).batches(0))
    row = int((batch.user_B == 8).nonzero()[0, 0])  # root 8
    assert batch.query_B[row] == 3 and batch.weight_B[row] == 1
    assert batch.positives_BP[row].tolist() == [8, 9]  # the third is cut
    assert batch.neighbours_BS[row].tolist() == [3, 4, -1, 1, 2, -1]
    stored = np.array([56, 57, 58, 59, 60, 61], np.float32)
    assert torch.equal(batch.relevance_BS[row], torch.from_numpy(stored / np.float32(127)))
    assert batch.time_B[row] == at(8) and batch.history_BL.shape == (5, 0)
    # The history's slots are entries 0, 1 (items) and 2 (a query, -1 here); those of the query's items are none.
    assert LAYOUT.entry_H.tolist() == [0, 1, 2] and batch.neighbours_BS[row, 2] == -1
    assert batch.linked_BS[row].tolist() == [0, 1, 0, 0, 0, 0]
    ages = [8 + 128, 7 + 128]
    assert batch.recency_BS[row].tolist() == [*(1 - age / 256 for age in ages), 0, 0, 0, 0]
    first = batch.query_B[batch.user_B == 7]  # root 7 has no query
    assert first.tolist() == [-1]


def test_sizes_that_do_not_divide_are_refused(files: list[DataFile]) -> None:
    with pytest.raises(ConfigError, match=r"multiple of roi\.shards"):
        feed(files, batch_size=18)
    with pytest.raises(ConfigError, match=r"training\.workers"):
        feed(files, workers=3)


def histories_of(folder: Path) -> Histories:
    """User u had item (u + n) mod 20 at the time of request n, for n below 50."""
    return Histories.read(
        [write_histories(folder, [(user, at(n), (user + n) % ITEMS) for user in range(USERS) for n in range(50)])]
    )


def test_batches_hold_the_newest_items_before_each_request(files: list[DataFile], tmp_path: Path) -> None:
    history = HistoryItems(histories_of(tmp_path), length=4, most=3)
    for _, batch in feed(files, history=history).batches(0):
        assert batch.history_BL.shape == (16, 4)
        for row in torch.nonzero(batch.weight_B).flatten().tolist():
            user, root = int(batch.user_B[row]), (int(batch.time_B[row]) - at(0)) // (at(1) - at(0))
            before = [(user + n) % ITEMS for n in range(50) if n < root][-3:]  # the cap is 3 events
            assert batch.history_BL[row].tolist() == [-1] * (4 - len(before)) + before
        assert (batch.history_BL[batch.weight_B == 0] == -1).all()


@pytest.mark.parametrize("workers", [2, 4])
def test_histories_do_not_depend_on_workers(files: list[DataFile], tmp_path: Path, workers: int) -> None:
    history = HistoryItems(histories_of(tmp_path), length=5, most=200)
    single = list(feed(files, history=history).batches(0))
    ranks = [list(feed(files, rank, workers, history=history).batches(0)) for rank in range(workers)]
    for step, (_, batch) in enumerate(single):
        assert sum((rows(batches[step][1]) for batches in ranks), Counter()) == rows(batch)
