"""What the steps of a night cost where a lake has no runs of its own (``rates.yaml``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from roilake.estimate import Rate


@dataclass(frozen=True)
class Defaults:
    """The file's content: a rate per step, and shares where no night has shown them."""

    steps: dict[str, Rate]
    edges_bytes: float
    similarity_seconds: float
    requests: float
    nodes: dict[str, float]
    store_bytes: float


@cache
def defaults() -> Defaults:
    """What ships with the package."""
    tree = yaml.safe_load(Path(__file__).with_name("rates.yaml").read_text())
    origin = tree.pop("origin")
    steps = {job: _rate(given, origin) for job, given in tree.pop("steps").items()}
    return Defaults(steps, **tree)


def _rate(given: dict[str, Any], origin: str) -> Rate:
    (fixed, each), (resident, more) = given["seconds"], given["memory"]
    scratch, left = (given.get(name, 0.0) for name in ("scratch", "left"))
    return Rate(fixed, each, given["bytes"], scratch, resident, more, origin, left)
