"""What a night of the toy pipeline does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from roilake.config import FileSource, IntakeConfig, NightConfig


class ToyConfig(NightConfig):
    """``points`` is a CSV file with columns name, time, x and y."""

    pipeline: Literal["toy"]
    default_model: str = "line"
    points: FileSource
    intake: IntakeConfig = IntakeConfig(quarantine_budget=0.5)
    steps: int = 200
    needs_recommendations: bool = False

    @property
    def upstreams(self) -> dict[str, bool]:
        return {"retrieval": self.needs_recommendations}

    def measured(self) -> Mapping[str, Mapping[str, Collection[str]]]:
        return {"test": {"absolute_error": ("all",)}}
