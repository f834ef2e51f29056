"""What is made or fetched once a machine and kept in a user cache: the horovod wheel and the Delta JARs."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "libs"))  # nothing is installed yet

from roilake.prerequisites import java_command  # noqa: E402

# Gloo only: no MPI and no TensorFlow on any machine that this suite asks for.
HOROVOD_FLAGS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
}
# horovod 0.28's CMake files force C++14 and torch's headers ask for C++20: the last -std on the line wins.
# They ask for debug symbols too, which only cost time.
CXX_WRAPPER = '#!/bin/sh\nexec g++ "$@" -std=gnu++20 -include cstdint -g0\n'


class Run(Protocol):
    """Runs a command, with more environment variables if given, and raises when it fails."""

    def __call__(self, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None: ...


def cache_folder() -> Path:
    """Where things are kept between clones: ROILAKE_CACHE, else the user's cache folder."""
    base = os.environ.get("ROILAKE_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser().resolve() / "roilake"


def pin(file: str, package: str) -> str:
    """The version that a requirements file pins a package to."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", (HERE / file).read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{file} pins no {package}")
    return found.group(1)


def wheel_folder() -> Path:
    """The cache folder of the wheel that fits these pins, this Python and this machine."""
    flags = hashlib.sha256(repr((sorted(HOROVOD_FLAGS.items()), CXX_WRAPPER)).encode()).hexdigest()[:8]
    libc = "-".join(platform.libc_ver())
    machine = f"py{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}-{libc}"
    horovod, torch = pin("horovod.txt", "horovod"), pin("requirements.txt", "torch")
    return cache_folder() / "wheels" / f"horovod-{horovod}-torch-{torch}-{machine}-{flags}"


def horovod_wheel(python: Path, run: Run) -> Path:
    """The horovod wheel, built with `python`'s packages when the cache has none."""
    folder = wheel_folder()
    if not folder.is_dir():
        _fill(folder, lambda scratch: _build_horovod(python, run, scratch))
    return next(folder.glob("*.whl"))


def _build_horovod(python: Path, run: Run, scratch: Path) -> list[Path]:
    wrapper = scratch / "cxx"
    wrapper.write_text(CXX_WRAPPER)
    wrapper.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # cmake is one of the packages installed there
    # The flags of the make that called us are not for this build: they would set its CONF too, for one.
    makeflags = f"-j{len(os.sched_getaffinity(0))}"
    environment = {**HOROVOD_FLAGS, "CXX": str(wrapper), "PATH": path, "MAKEFLAGS": makeflags}
    # Pip's own cache would hand out a wheel that was built for another torch.
    options = ["--no-cache-dir", "--no-deps", "--no-build-isolation", "--require-hashes", "--no-binary", "horovod"]
    run([python, "-m", "pip", "wheel", *options, "-r", HERE / "horovod.txt", "-w", scratch], environment)
    return list(scratch.glob("*.whl"))


def jar_folder() -> Path:
    """The cache folder of the JARs of the pinned Delta."""
    return cache_folder() / "jars" / f"delta-{pin('requirements.txt', 'delta-spark')}"


def delta_jars(spark_jars: Path, run: Run) -> list[Path]:
    """The JARs of jars.txt that Spark does not ship itself, fetched when the cache has none."""
    lines = (HERE / "jars.txt").read_text().splitlines()
    hashes = {name: digest for digest, name in map(str.split, lines)}
    folder = jar_folder()
    if not folder.is_dir():
        _fill(folder, lambda scratch: _fetch_jars(spark_jars, list(hashes), run, scratch))
    for name, expected in hashes.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{folder / name} is not the JAR of jars.txt: delete {folder} and try again")
    return [folder / name for name in hashes if not (spark_jars / name).exists()]


def _fetch_jars(spark_jars: Path, names: list[str], run: Run, scratch: Path) -> list[Path]:
    # Spark's own resolver also looks into the user's Maven cache, and fails on a half-filled one (POM without
    # JAR). Ivy alone, with a cache of its own, is independent of that and needs no Spark to start.
    ivy = next(spark_jars.glob("ivy-*.jar"))
    delta = ["io.delta", "delta-spark_2.13", pin("requirements.txt", "delta-spark")]
    pattern = f"{scratch}/[artifact]-[revision].[ext]"
    what = ["-dependency", *delta, "-confs", "default", "-types", "jar", "-retrieve", pattern]
    run([java_command(), "-jar", ivy, "-cache", scratch / "ivy", *what])
    return [scratch / name for name in names]


def _fill(folder: Path, make: Callable[[Path], list[Path]]) -> None:
    """Make a cache folder aside and rename it, so that none is ever half there: cut off, or made twice."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as aside:
        kept = Path(aside, "kept")
        kept.mkdir()
        for file in make(Path(aside)):
            shutil.move(file, kept / file.name)
        if not folder.is_dir():
            kept.rename(folder)
