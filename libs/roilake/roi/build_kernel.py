"""Compile ``kernel.c`` to a shared library beside it: ``python -m roilake.roi.build_kernel``.

One binary runs on any machine of the architecture; the instruction set is picked when it runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from roilake.errors import RoilakeError

SOURCE = Path(__file__).with_name("kernel.c")
LIBRARY = Path(__file__).with_name("libroi.so")
# No contraction to fused multiply-add: R must have the same bits everywhere.
FLAGS = ("-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")


def source_digest() -> int:
    """63 bits that name the source; compiled in, so that a stale library is noticed."""
    return int.from_bytes(hashlib.sha256(SOURCE.read_bytes()).digest()[:8], "little") >> 1


def build(target: Path = LIBRARY) -> Path:
    """Compile to ``target``, written aside and renamed. Raises RoilakeError with the complaint."""
    aside = target.with_suffix(f".{os.getpid()}.tmp")
    command = [os.environ.get("CC", "cc"), *FLAGS, f"-DROI_SOURCE={source_digest()}", str(SOURCE)]
    try:
        subprocess.run([*command, "-o", str(aside), "-lm"], check=True, capture_output=True, text=True)
        os.replace(aside, target)
    except FileNotFoundError as error:
        raise RoilakeError(f"ROI kernel: no C compiler {command[0]!r}; apt-get install gcc") from error
    except subprocess.CalledProcessError as error:
        raise RoilakeError(f"ROI kernel: {' '.join(error.stderr.split())[:300]}") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


if __name__ == "__main__":
    try:
        print(f"built {build().name}", file=sys.stderr)
    except RoilakeError as problem:
        sys.exit(f"error: {problem}")
