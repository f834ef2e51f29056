"""C kernels as shared libraries beside their sources: ``python -m roilake.native`` compiles them all (so does ``make
env``), a process loads each once.

A room's ``kernel.c`` becomes ``lib<room>.so``. One binary runs on any machine of the architecture. A source defines
``int64_t kernel_source(void) { return KERNEL_SOURCE; }``: the digest that it was compiled with, so that a library older
than its source is noticed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from roilake.errors import RoilakeError

ROOMS = Path(__file__).parent
# No contraction to fused multiply-add: results must have the same bits everywhere.
FLAGS = ("-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")
REMEDY = "run: python -m roilake.native"


def source_digest(source: Path) -> int:
    """63 bits that name the source."""
    return int.from_bytes(hashlib.sha256(source.read_bytes()).digest()[:8], "little") >> 1


def library(source: Path) -> Path:
    """Where the library of a room's source lies."""
    return source.with_name(f"lib{source.parent.name}.so")


def build(source: Path) -> Path:
    """Compile to ``library(source)``, written aside and renamed. Raises RoilakeError with the compiler's complaint."""
    name, target = source.parent.name, library(source)
    aside = target.with_suffix(f".{os.getpid()}.tmp")
    command = [os.environ.get("CC", "cc"), *FLAGS, f"-DKERNEL_SOURCE={source_digest(source)}", str(source)]
    try:
        subprocess.run([*command, "-o", str(aside), "-lm"], check=True, capture_output=True, text=True)
        os.replace(aside, target)
    except FileNotFoundError as error:
        raise RoilakeError(f"{name} kernel: no C compiler {command[0]!r}; apt-get install gcc") from error
    except subprocess.CalledProcessError as error:
        raise RoilakeError(f"{name} kernel: {' '.join(error.stderr.split())[:300]}") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def load(source: Path) -> ctypes.CDLL:
    """Raises RoilakeError when the library is missing or was not made from its source."""
    name, found = source.parent.name, library(source)
    try:
        loaded = ctypes.CDLL(str(found))
    except OSError as error:
        raise RoilakeError(f"{name} kernel: {found.name} cannot be loaded ({error}); {REMEDY}") from error
    loaded.kernel_source.restype = ctypes.c_int64
    if loaded.kernel_source() != source_digest(source):
        raise RoilakeError(f"{name} kernel: {found.name} is older than {source.name}; {REMEDY}")
    return loaded


def main() -> None:
    """Compile the kernels of all rooms."""
    for source in sorted(ROOMS.rglob("kernel.c")):
        try:
            print(f"built {build(source).name}", file=sys.stderr)
        except RoilakeError as problem:
            sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
