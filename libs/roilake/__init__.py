"""roilake: every night, from raw events to published recommendations, through regions of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roilake.reading import read, read_arrow

__version__ = "0.1.0"
__all__ = ["read", "read_arrow"]


def __getattr__(name: str) -> Any:
    """Load the readers when they are asked for: ``roilake --help`` must not wait for pandas."""
    if name in __all__:
        from roilake import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
