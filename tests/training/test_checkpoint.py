from __future__ import annotations

from pathlib import Path

import torch

from roilake.training import Checkpoints


def test_a_broken_or_foreign_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    Checkpoints(folder, "mine").save(4, {"x": torch.ones(2)}, {"a": 0.1})
    (folder / "9.safetensors").write_bytes(b"half")  # killed before its manifest was written
    found = Checkpoints(folder, "mine").latest()
    assert found is not None and found[0] == 4 and found[2] == {"a": 0.1}
    assert Checkpoints(folder, "other inputs").latest() is None
    Checkpoints(folder, "mine").save(8, {"x": torch.zeros(2)}, {})
    assert not (folder / "4.json").exists()
