"""C kernels as shared libraries beside their sources: compiled by ``make env``, loaded once a process.

A source defines ``int64_t kernel_source(void) { return KERNEL_SOURCE; }``: the digest that it was compiled with, so
that a library older than its source is noticed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

from roilake.errors import RoilakeError

# No contraction to fused multiply-add: results must have the same bits everywhere.
FLAGS = ("-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")


def source_digest(source: Path) -> int:
    """63 bits that name the source."""
    return int.from_bytes(hashlib.sha256(source.read_bytes()).digest()[:8], "little") >> 1


def build(name: str, source: Path, target: Path) -> Path:
    """Compile to ``target``, written aside and renamed. Raises RoilakeError with the complaint."""
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


def load(name: str, source_digest: int, library: Path, remedy: str) -> ctypes.CDLL:
    """Raises RoilakeError when the library is missing or was not made from its source."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise RoilakeError(f"{name} kernel: {library.name} cannot be loaded ({error}); {remedy}") from error
    loaded.kernel_source.restype = ctypes.c_int64
    if loaded.kernel_source() != source_digest:
        raise RoilakeError(f"{name} kernel: {library.name} is older than kernel.c; {remedy}")
    return loaded
