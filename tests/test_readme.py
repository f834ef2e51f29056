"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roilake import read
from roilake.errors import LakeError
from roilake.runtime.registry import pipelines, tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_make_target_exists() -> None:
    shown = set(re.findall(r"(?:^ *|`)make ([a-z][a-z-]+)", README, flags=re.MULTILINE))
    known = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert shown <= {name for line in known for name in line.split()}


def test_every_file_exists() -> None:
    shown = re.findall(r"\b((?:conf|jobs|libs|tests)/[\w/.]+\.(?:yaml|py|conf))", README)
    assert shown and all((ROOT / path).exists() for path in shown)


def test_steps_are_named_in_their_order() -> None:
    for pipeline in pipelines().values():
        assert " ".join(pipeline.step_names) in README


def test_every_table_is_named() -> None:
    assert all(f"`{table}`" in README for table in tables() if table not in ("node_ids",))


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="no such table"):
        read("recomendations", lake=tmp_path)
    with pytest.raises(LakeError, match="no lake here"):
        read("metrics", lake=tmp_path)
