"""Stores laid out once a machine, in a folder of its own disk, and mapped by every process that reads them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from roilake.lake import DataFile
from roilake.pipelines.retrieval.roi.store import RoiStore, lay_out

UNUSED_SECONDS = 2 * 86400.0


@dataclass(frozen=True)
class StoreFiles:
    """The parquet files that a window's store is made of, on storage that all machines share."""

    run: str  # names the versions: stores of one run lie together
    as_of: date
    adjacency: tuple[str, ...]
    vectors: tuple[str, ...]


def store_files(
    as_ofs: Sequence[date], adjacency: Sequence[DataFile], vectors: Sequence[DataFile]
) -> dict[date, StoreFiles]:
    """The files of each window."""
    paths = sorted(file.path for file in (*adjacency, *vectors))
    run = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]

    def of(files: Sequence[DataFile], as_of: date) -> tuple[str, ...]:
        return tuple(file.path for file in files if file.partition["as_of"] == str(as_of))

    return {as_of: StoreFiles(run, as_of, of(adjacency, as_of), of(vectors, as_of)) for as_of in as_ofs}


@lru_cache(maxsize=2)
def open_store(files: StoreFiles) -> RoiStore:
    """The window's store, laid out by the first process of the machine that asks; the others wait for it."""
    folder = stores_folder() / files.run / str(files.as_of)
    with _locked(folder.with_suffix(".lock")):
        if not folder.exists():
            aside = folder.with_suffix(".aside")
            shutil.rmtree(aside, ignore_errors=True)  # of a process that died
            lay_out(aside, files.adjacency, files.vectors)
            aside.rename(folder)
    os.utime(folder.parent)
    return RoiStore.open(folder)


def remove_stores(stores: Mapping[date, StoreFiles]) -> None:
    """Remove this machine's copies of the stores, and those that no process has opened for two days."""
    done = {files.run for files in stores.values()}
    for folder in stores_folder().iterdir():
        if folder.name in done or time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def stores_folder() -> Path:
    """Below ``$ROILAKE_CACHE``, or this user's part of the temporary folder."""
    cache = os.environ.get("ROILAKE_CACHE") or f"{tempfile.gettempdir()}/roilake-{os.getuid()}"
    folder = Path(cache) / "stores"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
