from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from roilake.errors import LakeError
from roilake.training.artifacts import read_manifest, warm_start, write_model


class Net(nn.Module):
    def __init__(self, nodes: int, dim: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(dim, 2)
        self.nodes = nn.Embedding(nodes, dim)
        self.scale = nn.Parameter(torch.rand(()))


def saved(folder: Path, model: nn.Module) -> Path:
    files = {"words.json": lambda path: path.write_text("[]")}
    write_model(folder, model.state_dict(), {"name": "net"}, {"steps": []}, files)
    return folder


def test_new_rows_go_behind_the_old_ones(tmp_path: Path) -> None:
    old, new = Net(4), Net(6)
    initial = new.nodes.weight.detach().clone()
    warm_start(new, saved(tmp_path, old))
    assert torch.equal(new.nodes.weight[:4], old.nodes.weight)
    assert torch.equal(new.nodes.weight[4:], initial[4:])
    assert torch.equal(new.scale, old.scale) and torch.equal(new.first.weight, old.first.weight)


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path, Net(4))
    for misfit, message in (
        (Net(6, dim=5), "does not fit"),
        (Net(2), "does not fit"),
        (nn.Linear(1, 1), "do not match"),
    ):
        before = {name: tensor.clone() for name, tensor in misfit.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            warm_start(misfit, folder)
        assert all(torch.equal(before[name], tensor) for name, tensor in misfit.state_dict().items())


def test_no_file_is_ever_half_written(tmp_path: Path) -> None:
    folder = saved(tmp_path, Net(4))
    saved(folder, Net(4))
    names = {path.name for path in folder.iterdir()}
    assert names == {"weights.safetensors", "words.json", "curve.json", "manifest.json"}
    assert read_manifest(folder) == {"name": "net"}
    with pytest.raises(LakeError, match=r"no trained model \(no manifest.json\): train it first"):
        read_manifest(tmp_path / "nothing")


def test_a_model_without_parameters_has_no_file_of_weights(tmp_path: Path) -> None:
    write_model(tmp_path, {}, {}, {}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"curve.json", "manifest.json"}
