"""Paths of a config are names or stated patterns, and a file's head tells its columns."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from roilake.errors import SourceError
from roilake.ingest.files import csv_columns, find_files, resolve_path


def test_paths_of_packages_shared_data_home_and_clusters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve_path("s3a://bucket/events/") is None and find_files("s3a://bucket/events/") is None
    found = resolve_path("package://recbole/dataset_example/ml-100k/ml-100k.inter")
    assert found is not None and found.endswith("ml-100k.inter") and Path(found).exists()
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert resolve_path("shared://d/x.csv") == str(tmp_path / "d" / "x.csv")
    assert resolve_path("~/x.csv") == str(tmp_path / "home" / "x.csv")
    assert resolve_path(f"file://{tmp_path}/x.csv") == f"{tmp_path}/x.csv"
    with pytest.raises(SourceError, match=r"shared://d/y\.csv: no such file"):
        find_files("shared://d/y.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a1.csv",
        "a2.csv",
        "b.csv",
        "c[1].csv",
        "{a,b}.csv",
        "_SUCCESS",
        ".a.csv.crc",
        "deep/er/d.csv",
        "_t/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a1.csv", ["a1.csv"]),
        ("a?.csv", ["a1.csv", "a2.csv"]),
        ("{a1,b}.csv", ["a1.csv", "b.csv"]),
        ("a[2-9].csv", ["a2.csv"]),
        ("c[1].csv", ["c[1].csv"]),  # a file of that name
        ("{a,b}.csv", ["{a,b}.csv"]),  # too
        ("**/d.csv", ["deep/er/d.csv"]),
        ("deep", ["deep/er/d.csv"]),  # what lies below a folder is not forgotten
        (".", ["a1.csv", "a2.csv", "b.csv", "c[1].csv", "deep/er/d.csv", "{a,b}.csv"]),
    ],
)
def test_a_path_is_a_name_or_else_a_pattern(folder: Path, path: str, names: list[str]) -> None:
    found = find_files(f"{folder}/{path}")
    assert found is not None and found.base is None
    assert [str(Path(file).relative_to(folder)) for file in found.paths] == names


def test_folders_may_be_columns_and_an_empty_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "log" / "day=1").mkdir(parents=True)
    with pytest.raises(SourceError, match="log: holds no file; correct the path in the config"):
        find_files(f"{tmp_path}/log")
    (tmp_path / "log" / "day=1" / "x.csv").write_text("x\n")
    found = find_files(f"{tmp_path}/log")
    assert found is not None and found.base == f"{tmp_path}/log"


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("user,item\n1,2\n", {}, ("user", "item")),
        ("\ufeffuser ; item\n", {"sep": ";"}, ("user", "item")),
        ('"a,b","say ""x"""\n', {}, ("a,b", 'say "x"')),
        ('"two\nlines",b\n', {}, ("two\nlines", "b")),
        ("a\tb\n", {"delimiter": "\\t"}, ("a", "b")),
        (",a,A\n", {}, ("_c0", "a1", "A2")),
        ("1||2||3\n", {"sep": "||", "header": "false"}, ("_c0", "_c1", "_c2")),
        ("# note\nuser,item\n", {"comment": "#"}, ("user", "item")),
        ('a"x,b\n', {"quote": ""}, ('a"x', "b")),
        ("", {}, ()),
    ],
)
def test_the_header_of_a_file_names_its_columns(
    tmp_path: Path, text: str, options: dict[str, str], names: tuple[str, ...]
) -> None:
    (tmp_path / "x.csv").write_text(text)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert csv_columns(str(tmp_path / "x.csv"), options) == csv_columns(str(tmp_path / "x.csv.gz"), options) == names


def test_what_is_no_text_of_that_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_text("no gzip")
    with pytest.raises(SourceError, match=r"x\.csv\.gz: cannot be read as csv"):
        csv_columns(str(tmp_path / "x.csv.gz"), {})
    with pytest.raises(SourceError, match=r"x\.csv\.gz: cannot be read as csv: unknown encoding"):
        csv_columns(str(tmp_path / "x.csv.gz"), {"encoding": "nonsense"})
