"""Files that last beside the tables, by name relative to the lake. Every one is written aside and renamed: nobody
ever sees half a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    write(aside)
    os.replace(aside, path)


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
        return self.local(name).read_text()

    def write_text(self, name: str, text: str) -> Path:
        """Write a whole file; returns where it lies."""
        write_aside(self.local(name), lambda path: path.write_text(text))
        return self.local(name)


def model_folder(pipeline: str, name: str, ds: object, run_id: str) -> str:
    """The name of the folder that holds a trained model. It lies outside of every table's folder."""
    return f"trained/{pipeline}/{name}/{ds}/{run_id}"


def report_name(pipeline: str, ds: object, since: object = None) -> str:
    """The name of a night's page; one that looks back to a chosen night lies beside it."""
    return f"reports/{pipeline}/{ds}.html" if since is None else f"reports/{pipeline}/{ds}-since-{since}.html"
