"""The files of a source on this machine: from a path of the config to a list, and what each file's head tells of its
columns."""

from __future__ import annotations

import csv
import io
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from roilake.errors import SourceError


@dataclass(frozen=True)
class Files:
    """Data files of a source. ``base``: the folder below which ``NAME=VALUE`` folders are columns, if there is one."""

    paths: tuple[str, ...]
    base: str | None = None


def resolve_path(path: str) -> str | None:
    """Where a source lies on this machine; None for ``s3a://...`` and the like, which are left to Spark.
    ``package://PACKAGE/FILE`` is looked up without importing the package, ``shared://FILE`` below ``$ROILAKE_DATA``
    (default ``../shared/data``), ``~`` is the home folder."""
    if path.startswith("package://"):
        return str(Path(sysconfig.get_paths()["purelib"], path.removeprefix("package://")))
    if path.startswith("shared://"):
        return str(Path(os.environ.get("ROILAKE_DATA", "../shared/data"), path.removeprefix("shared://")).absolute())
    if re.match(r"^(?!file:)[a-z][a-z0-9+.-]+://", path):
        return None
    return str(Path(re.sub(r"^file:(//)?", "", path)).expanduser().absolute())


def find_files(path: str) -> Files | None:
    """The files of a source, sorted; None where Spark must look. A path that is there is a name, whatever characters it
    has; any other is a pattern of ``*``, ``?``, ``[...]``, ``**`` (folders) and ``{a,b}``. A folder stands for all
    files in and below it, but those whose name, or folder's name, starts with ``.`` or ``_``. Raises SourceError when
    there is none."""
    local = resolve_path(path)
    if local is None:
        return None
    named = Path(local).exists()
    found = [local] if named else sorted({match for one in _expanded(local) for match in glob(one, recursive=True)})
    paths = tuple(sorted({str(file) for match in found for file in _data_files(Path(match))}))
    if not paths:
        problem = "holds no file" if found else f"no such file ({local})"
        raise SourceError(f"{path}: {problem}; correct the path in the config")
    keyed = named and any("=" in part for file in paths for part in Path(file).relative_to(local).parts[:-1])
    return Files(paths, local if keyed else None)


def _expanded(pattern: str) -> Iterator[str]:
    """The patterns that one with ``{a,b}`` stands for."""
    braces = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if braces is None:
        yield pattern
        return
    for option in braces[1].split(","):
        yield from _expanded(pattern[: braces.start()] + option + pattern[braces.end() :])


def _data_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for below in sorted(path.iterdir()):
            if not below.name.startswith((".", "_")):
                yield from _data_files(below)


def csv_columns(file: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a CSV file's columns: of its header, without blanks around them, or ``_c0``, ``_c1``, ... where it
    has none or a name is empty. Names that repeat get their number, as Spark has it. Nothing for an empty file."""
    lower = lowered(options)
    first = _first_record(file, lower)
    if lower.get("header", "true").lower() != "true":
        return tuple(f"_c{number}" for number in range(len(first)))
    names = [name.strip().lower() for name in first]
    return tuple(
        f"_c{number}" if not lowered else f"{name.strip()}{number if names.count(lowered) > 1 else ''}"
        for number, (name, lowered) in enumerate(zip(first, names, strict=True))
    )


def lowered(options: Mapping[str, str]) -> dict[str, str]:
    """Options of Spark's reader by name, for which it has no case of letters."""
    return {key.lower(): value for key, value in options.items()}


def separator_of(options: Mapping[str, str]) -> str:
    """What parts the columns of a CSV file, by its ``lowered`` options."""
    return options.get("sep", options.get("delimiter", ",")).replace("\\t", "\t")


def _first_record(file: str, options: Mapping[str, str]) -> list[str]:
    encoding = options.get("encoding", options.get("charset", "utf-8"))
    separator = separator_of(options)
    quote, comment = options.get("quote", '"'), options.get("comment")
    style: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    try:
        with pa.input_stream(file, compression="detect") as raw, io.TextIOWrapper(raw, encoding, "replace") as text:
            lines = (line.removeprefix("\ufeff") for line in text)
            kept = (line for line in lines if line.strip() and not (comment and line.startswith(comment)))
            if len(separator) != 1:
                return next(kept, "").rstrip("\r\n").split(separator) if separator else []
            return next(csv.reader(kept, delimiter=separator, **style), [])
    except (OSError, LookupError, csv.Error, pa.ArrowException) as error:
        raise SourceError(f"{file}: cannot be read as csv: {' '.join(str(error).split())}") from error


def parquet_schema(file: str) -> pa.Schema:
    """The columns of a Parquet file. Raises SourceError."""
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{file}: cannot be read as parquet: {' '.join(str(error).split())}") from error
