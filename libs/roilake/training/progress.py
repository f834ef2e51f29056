"""Where a run stands: the model, its optimizers, what it has seen, the weights to keep; and its checkpoints, from which
it goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.lake import write_aside
from roilake.training.optimizers import Optimizers, part

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """Checkpoints of one run in ``folder``: ``<step>.safetensors``, and ``<step>.json`` that makes it count. Each is
    written aside and renamed, and only then the one before is removed.

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


@dataclass
class Progress:
    """What a run has seen so far; part of its checkpoint. ``best`` is the number of the kept validation, -1 before the
    first one. ``curve`` holds the loss and its terms, ``validations`` the metrics, both by step."""

    steps: int = 0
    best: int = -1
    best_score: float = float("-inf")
    curve: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def wait_fraction(self) -> float:
        """Part of the time of the training steps that was spent waiting for input."""
        return self.waited / self.seconds if self.seconds else 0.0

    def validated(self, metrics: dict[str, float], select: str, *, last: bool) -> bool:
        """Note a validation. True for one to keep: a better one, any as long as ``select`` was never defined, or with
        ``last`` every one."""
        self.validations.append({"step": self.steps, **metrics})
        names = select.split("+")
        known = all(name.lstrip("-") in metrics for name in names)
        score = sum(-metrics[n[1:]] if n[0] == "-" else metrics[n] for n in names) if known else self.best_score
        keep = last or score > self.best_score or (not known and score == float("-inf"))
        if keep:
            self.best, self.best_score = len(self.validations) - 1, score
        return keep

    def figures(self, rows: float) -> dict[str, Any]:
        """The run in some numbers, ``rows`` a step. ``metrics`` are those of the kept weights; ``terms`` are means of
        the loss and of each of its terms over the last tenth of the curve."""
        best = self.validations[self.best] if self.validations else {}
        tail = self.curve[-max(1, len(self.curve) // 10) :]
        names = [name for name in (tail[0] if tail else {}) if name not in ("step", "seconds")]
        return {
            "metrics": {key: value for key, value in best.items() if key != "step"},
            "best_step": best.get("step"),
            "terms": {name: sum(point[name] for point in tail) / len(tail) for name in names},
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.steps * rows / self.seconds, 1) if self.seconds else 0.0,
            "wait_fraction": round(self.wait_fraction, 5),
        }


@dataclass
class State:
    """All that a checkpoint holds."""

    model: nn.Module
    optimizers: Optimizers
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict)

    def weights(self) -> dict[str, Tensor]:
        """All that makes up the model: the parameters and the buffers."""
        buffers = {f"buffer.{key}": value for key, value in self.model.named_buffers()}
        return {**self.optimizers.weights(), **buffers}

    def keep(self) -> None:
        """Remember the weights as the best ones."""
        self.best = {key: tensor.clone() for key, tensor in self.weights().items()}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Put ``weights`` back."""
        for key, tensor in self.weights().items():
            tensor.copy_(saved[key])

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of this step."""
        parts = {"now": self.weights(), "best": self.best, "state": self.optimizers.state()}
        tensors = {f"{name}.{key}": t for name, each in parts.items() for key, t in each.items()}
        checkpoints.save(self.progress.steps, tensors, vars(self.progress))

    def restore(self, checkpoints: Checkpoints) -> None:
        """Put the last checkpoint back, if there is one."""
        if found := checkpoints.latest():
            step, tensors, state = found
            self.load(part(tensors, "now."))
            self.best = {k: t.to(self.weights()[k].device) for k, t in part(tensors, "best.").items()}
            self.optimizers.restore(part(tensors, "state."))
            self.progress = Progress(**state)
            _LOG.info("training goes on from the checkpoint at step %d", step)
