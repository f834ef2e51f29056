"""Progress and errors on stderr: rich on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

from roilake.masking import masked

Form = Literal["auto", "json"]
ROOT = "roilake"
_STARTED = time.monotonic()
_form: Form = "auto"


def configure(form: Form = "auto") -> None:
    """Send what ``roilake`` loggers say to stderr. A second call changes the form."""
    global _form
    _form = form
    root = logging.getLogger(ROOT)
    root.handlers = [_handler(form)]
    root.handlers[0].addFilter(_mask)
    root.setLevel(logging.INFO)
    root.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log they raise, too


def form() -> Form:
    """The form that was configured last."""
    return _form


def _handler(form: Form) -> logging.Handler:
    if form == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        return RichHandler(console=Console(stderr=True), show_path=False, markup=False, omit_repeated_times=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Plain())
    return handler


def _mask(record: logging.LogRecord) -> bool:
    """No line holds a secret."""
    record.msg, record.args = masked(record.getMessage()), None
    return True


class _Plain(logging.Formatter):
    """Seconds since the process started, and what is logged."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{time.monotonic() - _STARTED:6.1f} s  {super().format(record)}"


class _Json(logging.Formatter):
    """An object a line; ``extra={"fields": {...}}`` of a record joins it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        seconds = round(time.monotonic() - _STARTED, 3)
        return json.dumps(
            {"after": seconds, "level": record.levelname.lower(), "message": record.getMessage(), **fields}
        )
