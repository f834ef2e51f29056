"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import roilake.runtime.night
from roilake import read
from roilake.errors import LakeError
from roilake.lake import TABLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_make_target_exists() -> None:
    shown = set(re.findall(r"(?:^ *|`)make ([a-z][a-z-]+)", README, flags=re.MULTILINE))
    known = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert shown <= {name for line in known for name in line.split()}


def test_every_file_exists() -> None:
    shown = re.findall(r"\b((?:conf|jobs|libs|tests)/[\w/.]+\.(?:yaml|py|conf))", README)
    assert shown and all((ROOT / path).exists() for path in shown)


def test_jobs_are_named_in_their_order() -> None:
    for jobs_of_night in roilake.runtime.night.JOBS.values():
        order = [job.__module__.removeprefix("jobs.") for job in jobs_of_night]
        assert " ".join(order) in README


def test_every_table_is_named() -> None:
    assert all(f"`{table}`" in README for table in TABLES if table not in ("node_ids",))


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="no such table"):
        read("recomendations", lake=tmp_path)
    with pytest.raises(LakeError, match="no lake here"):
        read("metrics", lake=tmp_path)
