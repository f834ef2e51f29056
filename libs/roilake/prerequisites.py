"""What a machine must have before anything is installed: Python 3.11, a JDK for Spark 4, compilers and make.

Stdlib only, and readable by older Pythons: ``conf/environment/build.py`` asks it before there is an environment, and
naming the wrong Python is its first job."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VENV_PACKAGES = "apt-get install python3.11 python3.11-venv"
JAVA_MAJORS = (17, 21)  # what Spark 4 runs on


class MissingError(Exception):
    """Something is not there: ``what`` names it, ``install`` is the command that installs it."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what}: {install}")
        self.what, self.install = what, install


def find_python() -> str:
    """The version of this Python. Raises MissingError unless it is 3.11 and can make environments."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise MissingError(f"Python 3.11 not found (only {found})", VENV_PACKAGES)
    # Debian ships venv without the ensurepip that fills it: both are looked for.
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise MissingError("the venv module of Python 3.11 not found", VENV_PACKAGES)
    return found


def find_java() -> str:
    """The version of the java that Spark would start. Raises MissingError unless Spark 4 runs on it."""
    command, install = java_command(), "apt-get install openjdk-17-jdk-headless"
    version = _version(command, "-version", r'version "([\d._]+)')
    if version is None:
        where = f" at {command}, where JAVA_HOME points" if "JAVA_HOME" in os.environ else ""
        raise MissingError(f"JDK 17 or 21 not found{where}", install)
    if int(version.split(".")[0]) not in JAVA_MAJORS:
        raise MissingError(f"JDK 17 or 21 not found ({command} is {version})", f"{install} and set JAVA_HOME")
    return version


def java_command() -> str:
    """The java that Spark would start: the one of JAVA_HOME, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def find_tool(command: str) -> str:
    """The version of gcc, g++ or make, each a Debian package of that name. Raises MissingError."""
    version = _version(command, "--version", r"(\d+\.[\d.]*\d)") if shutil.which(command) else None
    if version is None:
        raise MissingError(f"{command} not found", f"apt-get install {command}")
    return version


def find_headers() -> None:
    """Raises MissingError unless Python's C headers are there, which only the build of horovod asks for."""
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise MissingError("Python.h, the headers of Python 3.11, not found", "apt-get install python3.11-dev")


def _version(command: str, option: str, pattern: str) -> str | None:
    try:
        answer = subprocess.run([command, option], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(pattern, answer.stderr + answer.stdout)
    return found.group(1) if found else None
