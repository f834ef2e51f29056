"""The identity of a run: the same for the same pipeline, config, night and code."""

from __future__ import annotations

import hashlib
import os
import subprocess
from datetime import date
from functools import cache
from pathlib import Path

from roilake import __version__
from roilake.config import NightConfig
from roilake.errors import ConfigError
from roilake.lake import Run

_CODE = {".py", ".c", ".j2", ".yaml"}
"""Endings of what the code is made of; what is compiled is made of these."""


def make_run(config: NightConfig, ds: date, step: str) -> Run:
    """The run of a night's step."""
    revision = code_revision()
    run_id = hashlib.sha256(f"{config.digest()} {ds} {revision}".encode()).hexdigest()[:12]
    return Run(run_id, config.pipeline, ds, step, config.digest(), revision)


@cache
def code_revision() -> str:
    """The commit of the package's own checkout, with ``+dirty.`` and a digest of the code where that differs from the
    commit; where there is no checkout, the package's version with the digest."""
    package = Path(__file__).resolve().parents[1]
    commit = _commit(package.parents[1], package)
    if commit is None:
        return f"v{__version__}+{_digest(package)}"
    revision, clean = commit
    return revision if clean else f"{revision}+dirty.{_digest(package)}"


def _commit(root: Path, package: Path) -> tuple[str, bool] | None:
    """The commit checked out at ``root``, and whether the code is as committed. None where ``root`` is not the checkout
    that the package belongs to: an installed package may lie in the checkout of something else."""
    if package != root / "libs" / package.name or not (root / ".git").exists():
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), not git("status", "--porcelain", "--", "libs", "jobs")
    except (OSError, subprocess.CalledProcessError):
        return None


def _digest(package: Path) -> str:
    """Of the content of all code: the package's, and that of the steps, which lie beside it or beside its parent."""
    jobs = next((each for each in (package.parent / "jobs", package.parents[1] / "jobs") if each.is_dir()), None)
    found = hashlib.sha256()
    for folder in (package, jobs) if jobs else (package,):
        for file in sorted(file for file in folder.rglob("*") if file.suffix in _CODE):
            found.update(
                f"{file.relative_to(folder.parent)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
            )
    return found.hexdigest()[:12]


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
