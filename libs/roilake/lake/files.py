"""The folder of a lake, and files that last beside its tables, by name relative to it. Every one is written aside and
renamed: nobody ever sees half a file."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roilake.errors import LakeError

LAYOUT = 4
MARKER = "_roilake.json"


def check_folder(path: str | Path, *, create: bool) -> Path:
    """Check that ``path`` is a lake of this layout, or may become one; touches nothing. Raises LakeError."""
    if re.match(r"\w[\w+.-]+:/", str(path)):
        raise LakeError(f"{path}: a lake lies on a local or shared disk, not in an object store; name a folder")
    folder = Path(path).absolute()
    _check_name(folder)
    marker = folder / MARKER
    if marker.exists():
        return _check_layout(marker)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise LakeError(f"{folder}: is no lake (no {MARKER} in it); name an empty or a new folder")
    if not create:
        raise LakeError(f"{folder}: no lake here; run `roilake night` first, or correct --lake")
    above = next(each for each in folder.parents if each.exists())
    if not above.is_dir():
        raise LakeError(f"{folder}: {above} is a file; name a folder")
    return folder


def _check_name(folder: Path) -> None:
    """Spaces, brackets, any script: all are names. Raises LakeError for what no log shows or delta-rs cannot open."""
    shown = str(folder).encode("utf-8", "backslashreplace").decode()
    if shown != str(folder) or not str(folder).isprintable():
        raise LakeError(f"{shown!r}: holds a character that cannot be printed; name another folder")
    bad = re.search(r"%[0-9a-fA-F]{2}|[#?\\]", str(folder))
    if bad:
        raise LakeError(f"{folder}: Delta reads {bad[0]!r} in a name as something else; name another folder")


def _check_layout(marker: Path) -> Path:
    try:
        layout = json.loads(marker.read_text(encoding="utf-8"))["layout"]
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{marker}: is damaged; restore it as {{'layout': {LAYOUT}}} or use a new lake") from error
    if layout != LAYOUT:
        raise LakeError(
            f"{marker}: layout {layout}, but this version reads {LAYOUT}; name a new lake and run its nights again"
        )
    return marker.parent


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, then rename it. Several may do so at once: the last one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@dataclass(frozen=True)
class Files:
    """Files below ``root``."""

    root: Path

    def local(self, name: str) -> Path:
        """Where a file or folder lies on this machine."""
        return self.root / name

    def name(self, path: str | Path) -> str:
        """The name of what lies at a path."""
        return str(Path(path).relative_to(self.root))

    def exists(self, name: str) -> bool:
        return self.local(name).exists()

    def read_text(self, name: str) -> str:
        """Raises FileNotFoundError."""
        return self.local(name).read_text(encoding="utf-8")

    def write_text(self, name: str, text: str) -> Path:
        """Write a whole file; returns where it lies."""
        write_aside(self.local(name), lambda path: path.write_text(text, encoding="utf-8"))
        return self.local(name)


def model_folder(pipeline: str, name: str, ds: object, run_id: str, inputs: str) -> str:
    """The name of the folder that holds a trained model. It lies outside of every table's folder. ``inputs`` is a
    digest of what the model is made of: a run on other rows leaves the models of a published night alone."""
    return f"trained/{pipeline}/{name}/{ds}/{run_id}-{inputs}"


def report_name(pipeline: str, ds: object, since: object = None, *, published: bool = True) -> str:
    """The name of a night's page. One that looks back to a chosen night lies beside it, and so does that of an attempt
    that is not ``published``."""
    look = f"-since-{since}" if since is not None else ""
    return f"reports/{pipeline}/{ds}{look}{'' if published else '-unpublished'}.html"
