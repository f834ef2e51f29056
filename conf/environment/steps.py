"""The steps of the set-up in their order: what each does, what it depends on, what to try when it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import supplies
from supplies import HERE, ROOT, Run

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SPARK_JARS = VENV / "lib" / "python3.11" / "site-packages" / "pyspark" / "jars"
LIBS = ROOT / "libs" / "roilake"


@dataclass(frozen=True)
class Step:
    """One line of the set-up. It is done again when its inputs change: the bytes of files, or plain words."""

    name: str
    inputs: tuple[str | Path, ...]
    action: Callable[[Run], None]
    hint: str


def make_venv(run: Run) -> None:
    """An empty environment and uv in it, which installs the rest several times faster than pip."""
    run([sys.executable, "-m", "venv", "--clear", VENV])
    pip = ["-m", "pip", "--disable-pip-version-check", "install"]
    run([PYTHON, *pip, "--require-hashes", "--only-binary", ":all:", "-r", HERE / "bootstrap.txt"])


def install_packages(run: Run) -> None:
    """Every pinned package. No build isolation: what an sdist is built with is pinned too. Compiled at once: a process
    that may not (``PYTHONDONTWRITEBYTECODE``) would compile torch each time it starts."""
    _install(run, _COMPILED, "--require-hashes", "--no-build-isolation", "-r", HERE / "requirements.txt")


def install_horovod(run: Run) -> None:
    """Horovod, from the wheel in the cache, which is built first where there is none."""
    _install(run, "--no-deps", "--reinstall-package", "horovod", supplies.horovod_wheel(PYTHON, run))


def install_data(run: Run) -> None:
    """MovieLens-100K as it ships in recbole, and a small model of texts: none of their code is run, so no dependency of
    theirs is needed. Nor is that of the tokenizers, a client that would fetch some from a network."""
    _install(run, "--no-deps", "--require-hashes", "-r", HERE / "data.txt")


def install_jars(run: Run) -> None:
    """The Delta JARs beside Spark's own: no session and no spark-submit resolves anything when it starts."""
    for old in SPARK_JARS.glob("delta-*.jar"):
        old.unlink()
    for jar in supplies.delta_jars(SPARK_JARS, run):
        shutil.copy2(jar, SPARK_JARS)


def install_project(run: Run) -> None:
    """This repository, editable."""
    _install(run, "--no-deps", "--no-build-isolation", "--editable", ROOT)


def archive_classes(run: Run) -> None:
    """Spark's classes, parsed once for every JVM that starts."""
    run([PYTHON, "-m", "roilake.lake.class_archive"])


def compile_kernels(run: Run) -> None:
    """The shared libraries of all rooms' C kernels, beside their sources."""
    run([PYTHON, "-m", "roilake.native"])


def _install(run: Run, *arguments: str | Path) -> None:
    run([VENV / "bin" / "uv", "pip", "install", "--python", PYTHON, *arguments], _pip_index())


def _pip_index() -> dict[str, str]:
    """The package index that pip is set to use, for uv, which does not read pip's settings."""
    settings = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found = re.search(r"\.index-url='(.+)'", settings.stdout)
    return {"UV_DEFAULT_INDEX": found.group(1)} if found and "UV_DEFAULT_INDEX" not in os.environ else {}


_COMPILED = "--compile-bytecode"
_NETWORK = "check that the package index can be reached, then run `make env` again"

STEPS = (
    Step("python environment", (HERE / "bootstrap.txt", str(ROOT)), make_venv, _NETWORK),
    Step("packages", (HERE / "requirements.txt", _COMPILED), install_packages, _NETWORK),
    Step(
        "horovod",
        (HERE / "horovod.txt", supplies.wheel_folder().name),
        install_horovod,
        "look for the first `error:` in the log; the build needs g++ 11 or later and 4 GB of memory",
    ),
    Step("data and tokenizers", (HERE / "data.txt",), install_data, _NETWORK),
    Step(
        "delta jars",
        (HERE / "jars.txt",),
        install_jars,
        f"Maven Central must be reachable once; or put the JARs of jars.txt into {supplies.jar_folder()}",
    ),
    Step("roilake", (ROOT / "pyproject.toml",), install_project, "check pyproject.toml"),
    Step(
        "kernels",
        tuple(sorted((*LIBS.glob("native.py"), *LIBS.rglob("kernel.c")))),
        compile_kernels,
        "look for the first `error:` in the log; the kernel needs gcc 9 or later",
    ),
    Step(
        "spark classes",
        tuple(LIBS.glob("lake/class_archive.py")),
        archive_classes,
        "Spark must start on this machine: look for the first `error:` in the log",
    ),
)
