"""Where a training run stands, as tensors and JSON: written aside, renamed, and only then the one before removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from roilake.lake import write_aside


class Checkpoints:
    """Checkpoints of one run in ``folder``: ``<step>.safetensors``, and ``<step>.json`` that makes it count.

    ``key`` names what the run learns from; checkpoints of another key are passed over."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keep this state and drop the older ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        manifest = json.dumps({"key": self._key, "step": step, "state": state})
        write_aside(self._folder / f"{step}.safetensors", lambda path: save_file(contents, path))
        write_aside(self._folder / f"{step}.json", lambda path: path.write_text(manifest))
        for older in self._steps():
            if older < step:
                (self._folder / f"{older}.json").unlink()
                (self._folder / f"{older}.safetensors").unlink(missing_ok=True)

    def latest(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """(step, tensors, state) of the last whole checkpoint of this key, or None."""
        for step in sorted(self._steps(), reverse=True):
            manifest = json.loads((self._folder / f"{step}.json").read_text())
            if manifest["key"] == self._key:
                return step, load_file(self._folder / f"{step}.safetensors"), manifest["state"]
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the run has ended."""
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()

    def _steps(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("[0-9]*.json")]
