"""The edge between roilake and who runs it: whatever ends a command is one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from roilake.errors import UNFORESEEN
from roilake.faults import mendable
from roilake.masking import masked


class Terminated(BaseException):
    """The process was told to end (SIGTERM): whatever it holds is released on the way out."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """An error is one line on stderr and an exit code: 1 a failed audit, 2 what a person can mend, 3 what nobody
    foresaw; the traceback of the last kind goes to a file that the line names. A run that is ended from outside says
    so, with the codes of a shell: 130 for Ctrl-C, 143 for SIGTERM. No line holds a secret."""
    with _raising_sigterm():
        try:
            yield
        except (KeyboardInterrupt, Terminated) as ended:
            how, code = ("interrupted", 130) if isinstance(ended, KeyboardInterrupt) else ("ended by SIGTERM", 143)
            _exit(f"{how}; nothing is published that was not before, run it again to complete it", code)
        except BrokenPipeError:  # whoever read stdout has enough: `roilake runs | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except SystemExit:
            raise
        except BaseException as error:  # Rust's panics among them, which are no Exception
            _exit(*(mendable(error) or (_unforeseen(error), UNFORESEEN)))


@contextmanager
def _raising_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, in the main thread, where signals are taken."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(text: str, code: int) -> None:
    print(f"error: {masked(' '.join(text.split()))}", file=sys.stderr, flush=True)
    sys.exit(code)


def _unforeseen(error: BaseException) -> str:
    summary = f"{type(error).__name__}: {error}"[:500]
    return f"{summary} (nobody foresaw this; its traceback is in {_kept_traceback()})"


def _kept_traceback() -> str:
    import tempfile  # slow to load, and seldom needed

    with tempfile.NamedTemporaryFile("w", prefix="roilake-error-", suffix=".log", delete=False) as file:
        file.write(masked(traceback.format_exc()))
    return file.name
