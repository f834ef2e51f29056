from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from roilake.errors import LakeError
from roilake.pipelines.retrieval.feed import features
from roilake.pipelines.retrieval.training.inputs import Inputs
from roilake.pipelines.retrieval.training.losses import NEVER
from roilake.training import LocalContext
from tests.retrieval.feed.data import ITEMS
from tests.retrieval.training.data import DAYS, TRAINING, training_data


@dataclass
class OneOf(LocalContext):
    """A rank without any other to talk to: enough to see what it would read."""

    rank: int
    workers: int

    def __post_init__(self) -> None:
        super().__init__()


def candidates(inputs: Inputs) -> list[list[int]]:
    steps = inputs.steps(2)
    return [step.items.item_I[step.candidate_offset_I > NEVER].tolist() for step in steps]


def test_candidates_are_the_same_on_every_rank_and_differ_by_step(tmp_path: Path) -> None:
    data = training_data(tmp_path)
    alone = candidates(Inputs(data, TRAINING, LocalContext()))
    assert candidates(Inputs(data, TRAINING, OneOf(0, 2))) == candidates(Inputs(data, TRAINING, OneOf(1, 2))) == alone
    assert len({tuple(drawn) for drawn in alone}) > len(alone) // 2
    assert all(drawn and len(drawn) < ITEMS for drawn in alone)


def test_columns_of_positives_name_their_items(tmp_path: Path) -> None:
    inputs = Inputs(training_data(tmp_path), TRAINING, LocalContext())
    for step in inputs.steps(1):
        wanted = step.requests.positives_BP
        found = step.items.item_I[step.positive_BP.clamp(min=0)]
        assert torch.equal(found.where(step.positive_BP >= 0, -1), wanted)


def test_steps_go_on_across_epochs(tmp_path: Path) -> None:
    inputs = Inputs(training_data(tmp_path), TRAINING, LocalContext())
    whole = [(step.epoch, step.number) for step in inputs.steps(2)]
    assert [(s.epoch, s.number) for s in inputs.steps(2, done=7)] == whole[7:]
    assert whole == [(epoch, number) for epoch in range(2) for number in range(inputs.train.steps)]


def test_epochs_go_back_and_forth_and_end_with_the_newest_window(tmp_path: Path) -> None:
    inputs = Inputs(training_data(tmp_path), TRAINING, LocalContext())
    for epochs, ways in ((1, "f"), (2, "bf"), (3, "fbf")):
        expected = [
            batch.user_B for epoch, way in enumerate(ways) for _, batch in inputs.train.batches(epoch, back=way == "b")
        ]
        for step, user_B in zip(inputs.steps(epochs), expected, strict=True):
            assert torch.equal(step.requests.user_B, user_B)


def test_of_large_windows_two_are_held_and_the_steps_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = training_data(tmp_path)
    wanted = [(s.items.item_I, s.features["user"].interest_ND) for s in Inputs(data, TRAINING, LocalContext()).steps(2)]
    monkeypatch.setattr(features, "ROWS_HELD", 1)
    inputs = Inputs(data, TRAINING, LocalContext())
    for step, (item_I, interest_ND) in zip(inputs.steps(2), wanted, strict=True):
        assert torch.equal(step.items.item_I, item_I)
        assert torch.equal(step.features["user"].interest_ND, interest_ND)
    inputs.items(data.validation[0]), inputs.store.features(data.validation[0])
    for held in (inputs.items, inputs.store._window):
        assert held.cache_info().currsize == 2 < len(data.train + data.validation)


def test_an_item_without_a_row_is_named(tmp_path: Path) -> None:
    inputs = Inputs(training_data(tmp_path), TRAINING, LocalContext())
    with pytest.raises(LakeError, match=r"item 99 has no item-side row as of 2020-01-06"):
        inputs.rows_of(DAYS[0], torch.tensor([[99, -1]]))
