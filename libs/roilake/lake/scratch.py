"""Folders for what a step spills."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyspark.errors import PySparkException

from roilake.errors import LakeError


def empty(folder: Path) -> None:
    """Make the folder, without anything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for what is spilled, removed at the end; what a killed build left in it goes first. Raises
    LakeError when the disk is full."""
    empty(folder)
    try:
        yield folder
    except (OSError, PySparkException, pa.ArrowException) as error:
        full = os.strerror(errno.ENOSPC)
        if full in str(error):
            raise LakeError(f"{folder}: {full}; free disk space there and run the job again") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
