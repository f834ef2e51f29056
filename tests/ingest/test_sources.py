"""Files of one source may differ; every one of their rows is read rightly, or a line says which file is odd."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from roilake.config import FileSource
from roilake.errors import SourceError
from roilake.ingest import CORRUPT, count_parsed, map_rows, mapped, read_source, texts, with_reason
from roilake.ingest.rows import NOT_UTF8, STRANGE_TIME

COLUMNS = {"user": "user", "item": "item", "time": "time"}


def read(spark: SparkSession, path: Path | str, kind: str = "csv", **options: str) -> list[dict[str, Any]]:
    source = read_source(spark, FileSource(path=str(path), format=kind, options=options))
    columns = texts(source.rows, {name: F.col(f"`{name}`") for name in source.columns})
    rows = source.rows.select(*(column.alias(name) for name, column in columns.items()), CORRUPT).collect()
    return sorted((row.asDict() for row in rows), key=str)


def rows_of(spark: SparkSession, path: Path, kind: str = "csv", **more: Any) -> list[dict[str, Any]]:
    """Mapped rows with their reason, sorted by what they say."""
    given: dict[str, Any] = {"identity": "event_id", "identified_by": tuple(COLUMNS), "required": ("user", "item")}
    source = read_source(spark, FileSource(path=str(path), format=kind))
    rows = map_rows(
        source, "events", "columns", {**COLUMNS, "event_id": None, **more.pop("columns", {})}, **given, **more
    )
    found = with_reason(rows, ("user", "item", "time"), [], ("user", "item")).drop("row_id").collect()
    return sorted((row.asDict() for row in found), key=str)


def test_columns_go_by_each_file_s_own_header(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,time\nann,tea,1\n")
    (tmp_path / "b.csv").write_text("item,extra,user,time\nmilk,x,bob,2\n")
    (tmp_path / "empty.csv").write_text("")
    none = {"extra": None, CORRUPT: None}
    assert read(spark, tmp_path) == [
        {"user": "ann", "item": "tea", "time": "1", **none},
        {"user": "bob", "item": "milk", "time": "2", **none, "extra": "x"},
    ]
    source = read_source(spark, FileSource(path=str(tmp_path), format="csv"))
    mapped(source, "columns", {"user": "user", "extra": "extra"}, required=("user",))
    problem = r"a\.csv: has no column `extra`, which columns\.extra needs and other files of .* have"
    with pytest.raises(SourceError, match=problem):
        mapped(source, "columns", {"extra": "upper(extra)"}, required=("extra",))


def test_quotes_and_line_breaks_follow_rfc_4180(spark: SparkSession, tmp_path: Path) -> None:
    titles = ['The "Best", ever', "two\nlines", "back\\slash", '5" disk', "plain"]
    pd.DataFrame({"id": range(5), "title": titles, "brand": "b"}).to_csv(tmp_path / "a.csv", index=False)
    found = read(spark, tmp_path / "a.csv")
    assert [row["title"] for row in found] == titles
    assert all(row["brand"] == "b" and row[CORRUPT] is None for row in found)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_quote_that_does_not_close_hides_no_row(spark: SparkSession, tmp_path: Path, column: int) -> None:
    lines = [[f"u{n}", f"i{n}", "2026-08-01"] for n in range(100)]
    lines[60][column] = '"' + lines[60][column]
    (tmp_path / "a.csv").write_text("\n".join(["user,item,time", *map(",".join, lines)]) + "\n")
    reasons = Counter(row["reason"] for row in rows_of(spark, tmp_path / "a.csv"))
    assert reasons[None] == 60 and reasons.total() in (100, 101)


def test_parquet_files_of_several_types_and_times_in_nanoseconds(spark: SparkSession, tmp_path: Path) -> None:
    time = pd.to_datetime(["2026-08-01 10:00:00.123456789"])
    pd.DataFrame({"user": [7], "time": time}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"user": ["7"], "time": time.astype("datetime64[us]")}).to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"user": [7.0, None], "time": [*time, None]}).to_parquet(tmp_path / "c.parquet")
    found = read(spark, tmp_path, "parquet")
    assert sorted(str(row["user"]) for row in found) == ["7", "7", "7", "None"]
    assert {row["time"] for row in found if row["time"]} == {"2026-08-01 10:00:00.123456"}
    (tmp_path / "d.parquet").write_text("user,item\n")
    with pytest.raises(SourceError, match=r"d\.parquet: cannot be read as parquet"):
        read(spark, tmp_path, "parquet")


def test_folders_that_are_columns(spark: SparkSession, tmp_path: Path) -> None:
    for day, text in (("1", "user,item\nann,tea\n"), ("x", "item,user\nmilk,bob\n")):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        (tmp_path / "log" / f"day={day}" / "part.csv").write_text(text)
    found = read(spark, tmp_path / "log")
    assert [(row["user"], row["item"], row["day"]) for row in found] == [("ann", "tea", "1"), ("bob", "milk", "x")]


def test_lines_that_do_not_parse_are_counted_in_any_format(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text('{"id": 1}\n{"id": 2\n\n{"id": "three"}\n')
    (tmp_path / "o.csv").write_text("id,x\n1,2\n1,2,3\n4\n")
    for name, parsed in (("o.json", 2), ("o.csv", 1)):
        source = read_source(spark, FileSource(path=str(tmp_path / name), format=name[2:]))
        assert count_parsed(source) == parsed
    assert [row["id"] for row in read(spark, tmp_path / "o.json", "json")] == ["1", "three", None]


def test_rows_are_known_by_what_is_mapped_of_them(spark: SparkSession, tmp_path: Path) -> None:
    """Other columns, their order and that of the rows are no matter; equal rows are told apart by a number."""
    (tmp_path / "a.csv").write_text("user,item,time\nann,tea,2026-08-01\nann,tea,2026-08-01\nbob,tea,2026-08-01\n")
    (tmp_path / "b.csv").write_text("time,x,item,user\n2026-08-01,1,tea,bob\n" + "2026-08-01,1, tea ,ann\n" * 2)
    ids = [[row["event_id"] for row in rows_of(spark, tmp_path / name)] for name in ("a.csv", "b.csv")]
    assert sorted(ids[0]) == sorted(ids[1]) and len(set(ids[0])) == 3
    assert sum(found.endswith("-2") for found in ids[0]) == 1


def test_keys_are_cleaned_and_odd_times_and_encodings_have_a_reason(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        "user,item,time\n\u00a0ann \t,tea,2026-08-01\nbob, ,2026-08-01\n".encode()
        + b"eve,tea,58572-01-01\neve,tea,1970-01-21\n"
        + "zoé,tea,2026-08-01\n".encode("latin-1")
    )
    found = {(row["user"], row["reason"]) for row in rows_of(spark, tmp_path / "a.csv")}
    assert found == {("ann", None), ("bob", "no item"), ("eve", STRANGE_TIME), ("zo\ufffd", NOT_UTF8)}


def test_labels_may_be_words(spark: SparkSession, tmp_path: Path) -> None:
    words = ["true", "False", "YES", "no", "1", "0", "1.0", " 0 ", "", "2", "maybe"]
    lines = [f"u{n},i,2026-08-01,{word}" for n, word in enumerate(words)]
    (tmp_path / "a.csv").write_text("\n".join(["user,item,time,click", *lines]))
    rows = sorted(
        rows_of(spark, tmp_path / "a.csv", columns={"click": "click"}, labels=("click",)),
        key=lambda row: int(row["user"][1:]),
    )
    assert [row["click"] for row in rows[:-1]] == [1, 0, 1, 0, 1, 0, 1, 0, None, 2]
    assert rows[-1]["click"] != rows[-1]["click"]  # no label: NaN, which is neither 0 nor 1
