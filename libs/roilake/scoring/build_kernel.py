"""Compile ``kernel.c`` to a shared library beside it: ``python -m roilake.scoring.build_kernel``."""

from __future__ import annotations

import sys
from pathlib import Path

from roilake import native
from roilake.errors import RoilakeError

SOURCE = Path(__file__).with_name("kernel.c")
LIBRARY = Path(__file__).with_name("libtopk.so")


def source_digest() -> int:
    """63 bits that name the source."""
    return native.source_digest(SOURCE)


def build(target: Path = LIBRARY) -> Path:
    """Compile to ``target``. Raises RoilakeError with the compiler's complaint."""
    return native.build("top-K", SOURCE, target)


if __name__ == "__main__":
    try:
        print(f"built {build().name}", file=sys.stderr)
    except RoilakeError as problem:
        sys.exit(f"error: {problem}")
