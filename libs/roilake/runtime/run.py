"""The identity of a run: the same for the same pipeline, config, night and code."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import date
from functools import cache
from pathlib import Path

from roilake import __version__
from roilake.config import NightConfig
from roilake.errors import ConfigError
from roilake.lake import Run


def make_run(config: NightConfig, ds: date, step: str) -> Run:
    """The run of a night's step."""
    revision = code_revision()
    run_id = hashlib.sha256(f"{config.digest()} {ds} {revision}".encode()).hexdigest()[:12]
    return Run(run_id, config.pipeline, ds, step, config.digest(), revision)


@cache
def code_revision() -> str:
    """The commit of the checkout that runs, or the package version where there is no checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"
    return found.stdout.strip()


def parse_ds(text: str) -> date:
    """A night's logical date. Raises ConfigError."""
    try:
        return _in_range(date.fromisoformat(text), "--ds")
    except ValueError as error:
        raise ConfigError(f"--ds {text!r}: is no date; write YYYY-MM-DD") from error


def _in_range(ds: date, key: str) -> date:
    """Years behind or before these would leave what dates, timestamps and pandas can hold. Raises ConfigError."""
    if not 1900 <= ds.year < 2200:
        raise ConfigError(f"{key} {ds}: lies outside of the years 1900 to 2199; correct it")
    return ds


def night_of(config: NightConfig, ds: str | None) -> date:
    """The night that is asked for, or the config's own default. Raises ConfigError where there is neither."""
    if ds is not None:
        return parse_ds(ds)
    if config.default_ds is None:
        raise ConfigError("--ds: say which night, YYYY-MM-DD (the config has no default_ds)")
    return _in_range(config.default_ds, "default_ds")
