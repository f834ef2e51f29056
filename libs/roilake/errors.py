"""Errors that a person can mend: one line that names file, row or key, and what to do. Commands print them bare."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

FAILED_AUDIT, MENDABLE, UNFORESEEN = 1, 2, 3


class RoilakeError(Exception):
    """Base of all errors whose message is meant for the person who runs a job."""


class ConfigError(RoilakeError):
    """A config file is missing, malformed, or holds an unknown or ill-typed key."""


class SourceError(RoilakeError):
    """Raw data is missing or lacks a mapped column."""


class LakeError(RoilakeError):
    """The lake is no lake, of another layout version, or lacks what was asked of it."""


class AuditError(RoilakeError):
    """A night's tables failed a check, so nothing is published."""


class MetricError(RoilakeError):
    """Scores, labels or ranks on which no metric is defined: NaN, a label that is not 0 or 1, a duplicate."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """An error is one line on stderr and an exit code: 1 a failed audit, 2 what a person can mend, 3 what nobody
    foresaw; the traceback of the last kind goes to a file that the line names."""
    try:
        yield
    except AuditError as error:
        _exit(str(error), FAILED_AUDIT)
    except RoilakeError as error:
        _exit(str(error), MENDABLE)
    except Exception as error:
        summary = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        _exit(f"{summary} (nobody foresaw this; its traceback is in {_kept_traceback()})", UNFORESEEN)


def _exit(text: str, code: int) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def _kept_traceback() -> str:
    import tempfile  # slow to load, and seldom needed

    with tempfile.NamedTemporaryFile("w", prefix="roilake-error-", suffix=".log", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name
