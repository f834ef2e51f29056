"""How a page explains what every page shows. A pipeline may have its own (``Pipeline.texts``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Texts:
    """One sentence or more each; ``{own}`` stands for the default model. ``slice_names`` maps slices that are not named
    ``group=value`` to (what they are cut by, their value)."""

    tiles: str = "{own}, with 95 % intervals; level means that the paired interval of the difference holds 0."
    models: str = "The best value of a column is bold."
    slices: str = ""
    calibration: str = "Calibration: a bin on the dashed line means what it says."
    slice_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
