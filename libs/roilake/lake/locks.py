"""One writer at a time: locks of the operating system on files of the lake.

The system frees a lock when its holder ends, however it ends, so that none is ever stale; what a dead holder left in
the file is overwritten. Inside of a lock it may be taken again."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from roilake.errors import LakeError

LOG = logging.getLogger("roilake.lake")
LOCKS = "_locks"
_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


@contextmanager
def locked(file: Path, what: str, doing: str, *, wait: bool) -> Iterator[bool]:
    """Hold the lock ``file``; gives whether this block took it. Where another holds it, wait, or raise LakeError, which
    names the holder; ``what`` is locked and ``doing`` what the holder does, in words."""
    if file in _HELD.get():
        yield False
        return
    descriptor = _take(file, what, wait=wait)
    token = _HELD.set(_HELD.get() | {file})
    try:
        os.pwrite(descriptor, _holder(doing), 0)
        yield True
    finally:
        os.ftruncate(descriptor, 0)
        _HELD.reset(token)
        os.close(descriptor)


def _take(file: Path, what: str, *, wait: bool) -> int:
    """The descriptor of the locked file. One that was removed before it could be locked is nobody's lock: again."""
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):  # its folder came or went in between
            continue
        try:
            _lock(descriptor, what, wait=wait)
            if _is(file, descriptor):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, what: str, *, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held = f"{what} is being written by {_described(descriptor)}"
        if not wait:
            raise LakeError(f"{held}; run this again when that has ended, or start it with --wait") from error
        LOG.info("%s: waits until that has ended", held)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(doing: str) -> bytes:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return json.dumps({"doing": doing, "pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _described(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1 << 16, 0))
    except ValueError:  # locked, and not yet written
        return "another process"
    return f"{holder['doing']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
