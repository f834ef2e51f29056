"""A code revision is that of the package's own code, and tells of edits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from roilake import __version__
from roilake.runtime import run


def make_package(folder: Path) -> Path:
    """A package with one file, and steps beside it, under ``folder``."""
    for name in ("libs/roilake/runtime/run.py", "jobs/toy/step.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("1\n")
    return folder


def commit(folder: Path) -> str:
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run([*git, *arguments], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def revision(monkeypatch: pytest.MonkeyPatch, package: Path) -> str:
    monkeypatch.setattr(run, "__file__", str(package / "runtime" / "run.py"))
    return run.code_revision.__wrapped__()


def test_a_checkout_gives_its_commit_and_a_digest_of_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_package(tmp_path / "checkout")
    head, package = commit(root), root / "libs" / "roilake"
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert revision(monkeypatch, package) == head
    (root / "notes.txt").write_text("no code")
    assert revision(monkeypatch, package) == head
    edited = set()
    for name, text in (
        ("libs/roilake/runtime/run.py", "2\n"),
        ("libs/roilake/runtime/run.py", "3\n"),
        ("jobs/toy/new.py", ""),
    ):
        (root / name).write_text(text)
        edited.add(revision(monkeypatch, package))
    assert len(edited) == 3 and all(each.startswith(f"{head}+dirty.") for each in edited)
    (root / "libs/roilake/runtime/run.py").write_text("1\n")
    (root / "jobs/toy/new.py").unlink()
    assert revision(monkeypatch, package) == head


def test_an_installed_package_is_not_of_the_checkout_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "mine" / ".venv" / "site-packages"
    make_package(tmp_path / "built")
    installed.mkdir(parents=True)
    (tmp_path / "built" / "libs" / "roilake").rename(installed / "roilake")
    (tmp_path / "built" / "jobs").rename(installed / "jobs")
    commit(tmp_path / "mine")
    found = revision(monkeypatch, installed / "roilake")
    assert found.startswith(f"v{__version__}+") and found == revision(monkeypatch, installed / "roilake")
    (installed / "jobs" / "toy" / "step.py").write_text("2\n")
    assert revision(monkeypatch, installed / "roilake") != found
