"""What a machine must have before anything is installed: Python 3.11, a JDK for Spark 4, compilers and make.

Stdlib only, and readable by older Pythons, since naming the wrong Python is its first job.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

JAVA_MAJORS = (17, 21)


class MissingError(Exception):
    """Something is not there: the message names it and the command that installs it."""


def check_python() -> None:
    """Raise MissingError unless this is Python 3.11 and can make environments."""
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        raise MissingError(
            f"Python 3.11 not found (only {found}): apt-get install python3.11 python3.11-venv"
        )
    # Debian ships venv without the ensurepip that fills it: both are looked for.
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise MissingError("the venv module of Python 3.11 not found: apt-get install python3.11-venv")


def check_java() -> None:
    """Raise MissingError unless the java that Spark would start is one that Spark 4 runs on."""
    command, install = java_command(), "apt-get install openjdk-17-jdk-headless"
    version = java_version(command)
    if version is None:
        where = f" at {command}, where JAVA_HOME points" if "JAVA_HOME" in os.environ else ""
        raise MissingError(f"JDK 17 or 21 not found{where}: {install}")
    if int(version.split(".")[0]) not in JAVA_MAJORS:
        raise MissingError(f"JDK 17 or 21 not found ({command} is {version}): {install} and set JAVA_HOME")


def check_compilers(building_horovod: bool) -> None:
    """Raise MissingError unless the ROI kernel can be compiled, and horovod where it has to be built."""
    for command in ("gcc", "g++", "make"):
        if shutil.which(command) is None:
            raise MissingError(f"{command} not found: apt-get install {command}")
    if building_horovod and not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise MissingError("Python.h (the headers of Python 3.11) not found: apt-get install python3.11-dev")


def java_command() -> str:
    """The java that Spark would start: the one of JAVA_HOME, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def java_version(command: str) -> str | None:
    """The version that `java -version` names, such as 17.0.15; None where there is no java to ask."""
    try:
        answer = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r'version "([\d._]+)', answer.stderr + answer.stdout)
    return found.group(1) if found else None
