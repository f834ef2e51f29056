"""What a night says on the distributions of nodes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roilake.config.base import Positive, Strict


class DistributionRules(Strict):
    """``landmarks``: nodes that degree sequences are held against, of all degrees; ``anchors``: nodes that hops are
    counted to, up to ``levels``. Both are drawn by a hash of ``seed`` and node; none without neighbours is."""

    landmarks: Positive = 64
    anchors: Annotated[int, Field(ge=1, le=64)] = 64  # a bit each
    levels: Annotated[int, Field(ge=1, le=254)] = 16
    seed: int = 0
