"""Impressions as batches: what is read, how rows are weighed and ordered, in memory and by blocks."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roilake.errors import ConfigError, LakeError
from roilake.pipelines.conversion.feed.categories import CategoryIndex, VocabularyStatistics
from roilake.pipelines.conversion.feed.files import FileBlocks, indexed, read_impressions
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed, InMemory, Stream
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from tests.conversion.feed.impression_data import NAMES, SIDES, impressions, write_impressions, write_pseudo_labels


def rows(count: int = 60, **columns: Any) -> ImpressionRows:
    """Two fields; the first tells the row."""
    number = np.arange(count)
    click = number % 3 == 0
    return ImpressionRows.of(np.stack([number, number % 4], axis=1), click, number % 2, **columns)


def test_a_conversion_counts_only_after_a_click_and_rates_are_undone() -> None:
    batch = rows(6, sampling_rate=[1, 0.5, 0.25, 1, 1, 1]).batch()
    assert batch.conversion_B.tolist() == [0, 0, 0, 1, 0, 0]
    assert batch.weight_B.tolist() == [1, 2, 4, 1, 1, 1]
    assert batch.propensity_B.isnan().all() and batch.pseudo_B.isnan().all()


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    files = write_impressions(tmp_path, "train", 300)
    truth, paths = impressions(300), [file.path for file in files]
    found = read_impressions(paths, 3, pseudo=False)
    assert len(found) == 300 and len(np.unique(found.key_R)) == 300
    assert sorted(map(tuple, found.row_RF.tolist())) == sorted(map(tuple, truth["categories"].tolist()))
    assert found.click_R.sum() == truth["click"].sum()
    assert found.conversion_R.sum() == truth["conversion"].sum() and not np.isnan(found.conversion_R).any()
    assert np.isnan(found.propensity_R).all() and (found.inverse_rate_R == 1).all()
    pseudo = read_impressions([file.path for file in write_pseudo_labels(tmp_path, 300)], 3, pseudo=True)
    assert len(pseudo) == 300 - truth["click"].sum() and not pseudo.click_R.any()
    assert set(pseudo.pseudo_R.round(3)) == {np.float32(value) for value in (0.1, 0.2, 0.3, 0.4, 0.5)}
    assert len(read_impressions([], 3, pseudo=False)) == 0


def test_known_categories_have_rows_and_others_none(tmp_path: Path) -> None:
    survey = VocabularyStatistics(2, limit=3)
    survey.add(np.array([[30, 7], [10, -1]], np.int32), np.array([1.0, 2.0], np.float32), np.array([1.0, 0.0]))
    survey.add(np.array([[30, 8], [20, 9]], np.int32), np.ones(2, np.float32), np.array([0.0, 0.0]))
    assert (survey.total, survey.clicked) == (5.0, 1.0)
    survey.add(np.array([[10, 11]], np.int32), np.ones(1, np.float32), np.zeros(1))
    index = survey.index(["user", "item"], ["user", "item"])
    assert [field.rows for field in index.fields] == [3, 3]
    found = index.rows_of(np.array([[10, 7], [30, 11], [25, -1], [-1, 0]], np.int32))
    assert found.tolist() == [[0, 7 % 3], [2, 11 % 3], [-1, -1], [-1, 0]]  # four items share three rows
    index.save(tmp_path / "index.safetensors")
    again = CategoryIndex.load(tmp_path / "index.safetensors")
    assert again.fields == index.fields and again.rows == 3 and again.known[1] is None
    assert np.array_equal(again.known[0], index.known[0])


def test_vectors_of_a_graph_find_their_rows() -> None:
    index = CategoryIndex(("user", "item"), ("user", "item"), (np.array([10, 20], np.int32), None), 2)
    found = index.vectors("user", np.array([20, 99], np.int32), np.array([[1, 2], [3, 4]], np.float32))
    assert found.tolist() == [[0, 0], [1, 2]]
    with pytest.raises(ConfigError, match=r"item has more than 2 values.*raise training.embeddings.rows"):
        index.vectors("item", np.array([1], np.int32), np.ones((1, 2), np.float32))


def test_every_pass_holds_each_row_once_in_an_order_of_its_own() -> None:
    stream = Stream(InMemory(rows(20)), 7, seed=5)
    taken = np.concatenate([part.row_RF[:, 0] for part in islice(stream.steps(0), 20)])  # 140 rows: seven passes
    passes = taken.reshape(7, 20)
    assert all(sorted(one) == list(range(20)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 7
    later = [part.row_RF[:, 0].tolist() for part in islice(stream.steps(9), 3)]
    assert later == taken.reshape(20, 7)[9:12].tolist()
    small = Stream(InMemory(rows(3)), 7, seed=5)
    assert len(next(small.steps(0))) == 7  # fewer rows than a step takes: some twice


def blocks(folder: Path, block_rows: int) -> FileBlocks:
    files = [f for f in write_impressions(folder, "train", 900, group=40) if f.partition["labelled"] == "0"]

    def read(paths: list[str], part: tuple[int, int]) -> ImpressionRows:
        return read_impressions(paths, 3, pseudo=False, part=part)

    return FileBlocks(files, read, block_rows, seed=1)


def test_blocks_of_row_groups_hold_each_row_once_a_pass_and_resume_anywhere(tmp_path: Path) -> None:
    source = blocks(tmp_path, 130)
    sizes = [len(block) for block, _ in source.blocks(0, 0)]
    assert sum(sizes) == source.rows and max(sizes) <= 130 and len(sizes) > 4
    stream = Stream(source, 25, seed=2)
    steps = -(-2 * source.rows // 25)
    taken = [part.key_R for part in islice(stream.steps(0), steps)]
    keys = np.concatenate(taken)
    first, second = keys[: source.rows], keys[source.rows : 2 * source.rows]
    assert len(np.unique(first)) == source.rows and set(first) == set(second)
    assert not np.array_equal(first, second)
    for start in (1, 13, steps - 2):
        assert np.array_equal(next(stream.steps(start)).key_R, taken[start])
    whole = read_impressions([path for path, *_ in dict.fromkeys(source._groups)], 3, pseudo=False)
    assert set(whole.key_R) == set(first)


def test_weights_estimate_the_mean_over_all_rows() -> None:
    count = 3000
    rate = np.where(np.arange(count) % 2 == 0, 1.0, 0.25)
    held = rows(count, sampling_rate=rate)
    feed = ImpressionFeed.of_rows(held, clicks=32, impressions=64, seed=3, shards=2)
    value = np.sin(np.arange(count))
    expected = (value / rate).sum() / (1 / rate).sum()
    found, weights = [], []
    for batch in islice(feed.batches(), 600):
        assert len(batch.click_B) == 96 and batch.click_B.sum() == 32
        found.append((batch.weight_B.numpy() * value[batch.row_BF[:, 0]]).sum())
        weights.append(batch.weight_B.sum().item())
    assert np.mean(weights) == pytest.approx(1.0, abs=0.005)
    assert np.mean(found) == pytest.approx(expected, abs=0.01)
    unsampled = next(ImpressionFeed.of_rows(rows(600), clicks=32, impressions=64, seed=3).batches())
    assert unsampled.weight_B.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert unsampled.weight_B[unsampled.click_B > 0].sum().item() == pytest.approx(1 / 3, abs=1e-6)


def test_ranks_share_the_batch_of_one() -> None:
    def batches(rank: int, workers: int) -> list[list[tuple[int, float]]]:
        feed = ImpressionFeed.of_rows(rows(500), clicks=8, impressions=24, seed=3, shards=4, rank=rank, workers=workers)
        taken = [(batch.row_BF[:, 0].tolist(), batch.weight_B.tolist()) for batch in islice(feed.batches(), 40)]
        return [list(zip(*batch, strict=True)) for batch in taken]

    one, two = batches(0, 1), [batches(rank, 2) for rank in (0, 1)]
    for step in range(40):
        assert len(two[0][step]) == len(two[1][step]) == 16
        assert sorted(one[step]) == sorted(two[0][step] + two[1][step])


def test_a_shard_without_rows_gives_none() -> None:
    held = rows(400)
    held = held.at((held.click_R == 0) | (held.key_R % 2 == 0))  # all clicks in shard 0
    feed = ImpressionFeed.of_rows(held, clicks=16, impressions=32, seed=0, shards=2)
    batch = next(feed.batches())
    assert batch.click_B.sum() == 8 and batch.weight_B.sum().item() == pytest.approx(1.0, abs=1e-6)


def test_no_clicks_and_uneven_shares_are_named() -> None:
    held = rows(30)
    with pytest.raises(LakeError, match="no clicked row in split train"):
        ImpressionFeed.of_rows(held.at(held.click_R == 0), clicks=2, impressions=4, seed=0)
    with pytest.raises(ConfigError, match=r"clicks \(3\) and impressions \(4\) must be multiples of"):
        ImpressionFeed.of_rows(held, clicks=3, impressions=4, seed=0, shards=2)


def test_rows_take_their_places_in_the_tables(tmp_path: Path) -> None:
    files = write_impressions(tmp_path, "train", 200)
    raw = read_impressions([file.path for file in files], 3, pseudo=False)
    survey = VocabularyStatistics(3, 100)
    survey.add(raw.row_RF, raw.inverse_rate_R, raw.click_R)
    index = survey.index(NAMES, SIDES)
    found = indexed(raw, index)
    known = [np.unique(column[column >= 0]) for column in raw.row_RF.T]
    assert all(np.array_equal(a, b) for a, b in zip(index.known, known, strict=True))
    for place in range(3):
        back = np.append(known[place], -1)[found.row_RF[:, place]]
        assert np.array_equal(back, raw.row_RF[:, place])
