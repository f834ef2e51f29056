"""Published tables are read without Spark: the right night's rows, and one clear line when that cannot be."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from roilake import read, read_arrow
from roilake.errors import LakeError
from roilake.lake import TABLES, Lake, Run

MONDAY, TUESDAY, WEDNESDAY = (date(2020, 1, day) for day in (6, 7, 8))


def item(ds: date, user: str, rank: int, score: float, query: str | None = "q") -> dict[str, Any]:
    return {
        "ds": ds,
        "user": user,
        "query": query,
        "rank": rank,
        "item": f"i{rank}",
        "score": score,
        "model": "m",
    }


def identity(ds: date, key: str) -> dict[str, Any]:
    return {"ds": ds, "node_type": "user", "key": key, "id": ord(key)}


def a_run(ds: date) -> Run:
    return Run(run_id="r", ds=ds, job="test", config_hash="c", code_revision="v")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monday and Tuesday are published, only Tuesday with ``nodes``. Monday's rows were written again after its
    publication, and Wednesday's were never published."""
    lake = Lake(None, tmp_path_factory.mktemp("reading") / "lake")

    def write(table: str, ds: date, *rows: dict[str, Any]) -> None:
        made = pa.Table.from_pylist(list(rows), schema=TABLES[table].arrow_schema)
        lake.write(table, made, where={"ds": ds}, run=a_run(ds))

    def publish(ds: date, *tables: str) -> None:
        lake.publish(ds, {table: lake.version(table) for table in tables}, a_run(ds), "{}")

    write("recommendations", MONDAY, item(MONDAY, "a", 1, 0.5), item(MONDAY, "b", 1, 0.6))
    write("node_ids", MONDAY, identity(MONDAY, "a"), identity(MONDAY, "b"))
    publish(MONDAY, "recommendations", "node_ids")
    write("recommendations", TUESDAY, item(TUESDAY, "a", 1, 0.7), item(TUESDAY, "a", 2, 0.1, None))
    write("node_ids", TUESDAY, identity(TUESDAY, "c"))
    write("nodes", TUESDAY, {**identity(TUESDAY, "a"), "fields": [("age", "30")], "terms": []})
    write("recommendations", MONDAY, item(MONDAY, "a", 1, 99.0))
    publish(TUESDAY, "recommendations", "node_ids", "nodes")
    write("recommendations", WEDNESDAY, item(WEDNESDAY, "a", 1, 0.9))
    return lake.folder


def scores(rows: pd.DataFrame) -> list[float]:
    return sorted(rows["score"])


def test_a_reader_gets_the_last_published_night_or_the_one_named(folder: Path) -> None:
    assert scores(read("recommendations", lake=folder)) == [0.1, 0.7]
    assert scores(read("recommendations", lake=folder, ds="2020-01-06")) == [0.5, 0.6]
    assert scores(read("recommendations", lake=folder, ds=TUESDAY)) == [0.1, 0.7]


def test_several_nights_come_each_as_it_was_published(folder: Path) -> None:
    for ds in ("all", [TUESDAY, "2020-01-06"], pd.to_datetime(["2020-01-06", "2020-01-07"])):
        rows = read("recommendations", lake=folder, ds=ds)
        assert list(zip(rows["ds"], rows["score"], strict=True)) == [
            (MONDAY, 0.5), (MONDAY, 0.6), (TUESDAY, 0.7), (TUESDAY, 0.1),
        ]  # fmt: skip
    assert set(read("nodes", lake=folder, ds="all")["ds"]) == {TUESDAY}  # Monday published none
    assert list(read("publications", lake=folder, ds="all")["ds"]) == [MONDAY, TUESDAY]
    assert read("publications", lake=folder)["versions"][0].keys() == {"recommendations", "node_ids", "nodes"}


def test_a_cumulative_table_holds_all_nights_up_to_the_one_asked_for(folder: Path) -> None:
    assert sorted(read("node_ids", lake=folder, ds=MONDAY)["key"]) == ["a", "b"]
    for ds in (None, "all", [MONDAY, TUESDAY]):
        assert sorted(read("node_ids", lake=folder, ds=ds)["key"]) == ["a", "b", "c"]
    assert list(read("node_ids", lake=folder, where={"ds": "2020-01-07"})["key"]) == ["c"]


def test_some_columns_of_some_rows(folder: Path) -> None:
    rows = read("recommendations", lake=folder, columns=["score", "user"], where={"rank": 1})
    assert rows.to_dict("list") == {"score": [0.7], "user": ["a"]}
    assert scores(read("recommendations", lake=folder, ds="all", where={"user": ["b", "x"]})) == [0.6]
    assert scores(read("recommendations", lake=folder, where={"query": None})) == [0.1]
    assert read("recommendations", lake=folder, where={"user": "nobody"}).empty


def test_arrow_keeps_the_types_and_pandas_gets_dicts(folder: Path) -> None:
    schema = TABLES["recommendations"].arrow_schema
    assert read_arrow("recommendations", lake=folder).schema == schema
    assert read_arrow("recommendations", lake=folder, ds="all").schema == schema
    assert read("nodes", lake=folder)["fields"].tolist() == [{"age": "30"}]


@pytest.mark.parametrize(
    ("table", "asked", "said"),
    [
        ("recomendations", {}, "no such table; there are events"),
        ("metrics", {}, "night 2020-01-07 was published without a table 'metrics'"),
        ("nodes", {"ds": MONDAY}, "night 2020-01-06 was published without a table 'nodes'"),
        (
            "nodes",
            {"ds": "2020-01-08"},
            "no night 2020-01-08 is published there; the last ones are 2020-01-06, 2020",
        ),
        ("nodes", {"ds": []}, "no night asked for; the last ones are"),
        ("nodes", {"ds": "yesterday"}, "'yesterday': is no date; write YYYY-MM-DD"),
        ("nodes", {"columns": ["name"]}, "nodes: no column 'name'; there are ds, node_type, id"),
        ("nodes", {"where": {"name": 1}}, "nodes: no column 'name'"),
        ("nodes", {"where": {"id": "seven"}}, "nodes: where id: 'seven' does not fit the type int32"),
        ("nodes", {"where": {"ds": MONDAY}}, "name nights by ds="),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(
    folder: Path, table: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(LakeError) as caught:
        read(table, lake=folder, **asked)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_lake_without_a_published_night_says_so(tmp_path: Path) -> None:
    Lake(None, tmp_path / "lake").write(
        "node_ids", TABLES["node_ids"].arrow_schema.empty_table(), where={"ds": MONDAY}, run=a_run(MONDAY)
    )
    with pytest.raises(LakeError, match="no night at all is published there; run `roilake night` first"):
        read("node_ids", lake=tmp_path / "lake")
