"""The lake keeps nights apart, versions readable, and refuses what is no lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark import TaskContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.lake import TABLES, Lake, Publication, Run, table

MONDAY, TUESDAY = date(2020, 1, 6), date(2020, 1, 7)


def quarantined(ds: date, rows: list[str], step: str = "j") -> pa.Table:
    columns = [{"ds": ds, "step": step, "row": row, "reason": "r", "source": "s", "row_id": "i"} for row in rows]
    return pa.Table.from_pylist(columns, schema=TABLES["quarantine"].arrow_schema)


def rows_of(lake: Lake, table: str = "quarantine", version: int | None = None) -> list[tuple[str, str]]:
    version = lake.version(table) if version is None else version
    return sorted((str(row["ds"]), row["row"]) for row in lake.to_arrow(table, version).to_pylist())


def test_a_folder_that_is_no_lake_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(LakeError, match="is no lake"):
        Lake.open(spark, tmp_path / "letters", create=True)
    with pytest.raises(LakeError, match="no lake here"):
        Lake.open(spark, tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('{"layout": 99}', "layout 99"),
        ('{"layout": 1}', "layout 1, but .* name a new lake"),
        ("{", "damaged"),
        ("{}", "damaged"),
    ],
)
def test_another_layout_is_refused(spark: SparkSession, tmp_path: Path, marker: str, message: str) -> None:
    (tmp_path / "_roilake.json").write_text(marker)
    with pytest.raises(LakeError, match=message):
        Lake.open(spark, tmp_path, create=True)
    assert (tmp_path / "_roilake.json").read_text() == marker


def test_a_folder_becomes_a_lake_when_something_is_written(
    spark: SparkSession, lake: Lake, make_run: Callable[..., Run]
) -> None:
    assert not lake.folder.exists()
    where: dict[str, object] = {"ds": MONDAY, "step": "j"}
    lake.write("quarantine", quarantined(MONDAY, ["a"]), where=where, run=make_run(MONDAY))
    assert Lake.open(spark, lake.path, create=False).path == lake.path


def test_a_missing_table_or_version_is_named(lake: Lake, make_run: Callable[..., Run]) -> None:
    with pytest.raises(LakeError, match="no table 'events' yet"):
        lake.read("events")
    lake.write("quarantine", quarantined(MONDAY, ["a"]), where={"ds": MONDAY, "step": "j"}, run=make_run(MONDAY))
    with pytest.raises(LakeError, match="no readable version 77"):
        lake.read("quarantine", version=77)


@pytest.mark.parametrize("through_spark", [True, False])
def test_a_rerun_replaces_its_own_rows_only(lake: Lake, make_run: Callable[..., Run], through_spark: bool) -> None:
    def write(ds: date, rows: list[str], step: str = "j") -> int:
        table = quarantined(ds, rows, step)
        frame = lake.spark.createDataFrame(table.to_pylist(), TABLES["quarantine"].spark_schema)
        return lake.write(
            "quarantine", frame if through_spark else table, where={"ds": ds, "step": step}, run=make_run(ds)
        )

    write(MONDAY, ["a", "b"])
    first = write(MONDAY, ["other step"], step="k")
    write(TUESDAY, ["c"])
    write(MONDAY, ["corrected"])
    assert rows_of(lake) == [("2020-01-06", "corrected"), ("2020-01-06", "other step"), ("2020-01-07", "c")]
    assert rows_of(lake, version=first) == [("2020-01-06", "a"), ("2020-01-06", "b"), ("2020-01-06", "other step")]
    assert lake.read("quarantine", version=first).count() == 3


@pytest.mark.parametrize("way", ["arrow", "frame", "tasks"])
def test_equal_rows_are_no_new_version(lake: Lake, make_run: Callable[..., Run], way: str) -> None:
    """In whatever order, and in however many files."""
    where: dict[str, object] = {"ds": MONDAY, "step": "j"}

    def write(rows: list[str], parts: int) -> int:
        held = quarantined(MONDAY, rows)
        if way == "arrow":
            return lake.write("quarantine", held, where=where, run=make_run(MONDAY))
        held = held.set_column(held.column_names.index("pipeline"), "pipeline", pa.array(["toy"] * len(held)))
        schema = TABLES["quarantine"].spark_schema
        frame = lake.spark.createDataFrame(held.to_pylist(), schema).repartition(parts)
        if way == "frame":
            return lake.write("quarantine", frame, where=where, run=make_run(MONDAY))
        versions = lake.write_from_tasks(
            ["quarantine"], frame, lambda part: [("quarantine", part)], where=where, run=make_run(MONDAY)
        )
        return versions["quarantine"]

    first = write(["a", "b", "c"], 1)
    files = list((lake.folder / "quarantine").rglob("*.parquet"))
    assert write(["c", "a", "b"], 2) == first and lake.version("quarantine") == first
    assert list((lake.folder / "quarantine").rglob("*.parquet")) == files  # nothing is left of the rerun
    second = write(["a", "b", "d"], 1)
    third = write(["a", "b", "c"], 2)
    assert first < second < third and lake.same("quarantine", first, third, ds=MONDAY)
    assert not lake.same("quarantine", first, second, ds=MONDAY)


def test_pipelines_share_a_table_and_keep_their_own_rows(lake: Lake, make_run: Callable[..., Run]) -> None:
    def write(pipeline: str, row: str) -> None:
        run = replace(make_run(MONDAY), pipeline=pipeline)
        lake.write("quarantine", quarantined(MONDAY, [row]), where={"ds": MONDAY, "step": "j"}, run=run)

    for pipeline, row in (("toy", "a"), ("other", "b"), ("toy", "c")):
        write(pipeline, row)
    rows = lake.to_arrow("quarantine", lake.version("quarantine")).to_pylist()
    assert {(row["pipeline"], row["row"]) for row in rows} == {("toy", "c"), ("other", "b")}


def test_a_table_that_nobody_defined_or_that_is_defined_twice_is_named(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"'letters': no such table; there are .*quarantine"):
        lake.exists("letters")
    with pytest.raises(LakeError, match="'quarantine' is defined twice"):
        table("quarantine", "Another one.", key="ds", columns="ds date the night")


def test_what_may_be_lost_lies_apart_from_what_lasts(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROILAKE_SCRATCH", str(tmp_path / "fast"))
    assert lake.scratch("spills").is_relative_to(tmp_path / "fast")
    assert lake.lasting("sums").is_relative_to(lake.folder)
    path = lake.files.write_text("reports/toy/page.html", "dear")
    assert lake.files.name(path) == "reports/toy/page.html" and lake.files.read_text("reports/toy/page.html") == "dear"
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


def test_rows_must_fit_the_definition_and_the_place(lake: Lake, make_run: Callable[..., Run]) -> None:
    rows = quarantined(MONDAY, ["a"])
    with pytest.raises(LakeError, match="lack the columns reason"):
        lake.write("quarantine", rows.drop_columns(["reason"]), where={"ds": MONDAY}, run=make_run())
    for where in ({"step": "j"}, {"ds": MONDAY, "reason": "r"}):
        with pytest.raises(LakeError, match="must name ds"):
            lake.write("quarantine", rows, where=where, run=make_run())
    with pytest.raises(LakeError, match="lie outside"):
        lake.write("quarantine", rows, where={"ds": TUESDAY}, run=make_run())
    assert not lake.exists("quarantine")
    frame = lake.spark.createDataFrame(rows.to_pylist(), TABLES["quarantine"].spark_schema)
    with pytest.raises(LakeError, match="lie outside"):
        lake.write("quarantine", frame, where={"ds": TUESDAY}, run=make_run())
    assert rows_of(lake) == []


def test_partition_columns_come_back_typed_and_filtered(lake: Lake, make_run: Callable[..., Run]) -> None:
    vectors = pa.Table.from_pylist(
        [
            {"ds": MONDAY, "as_of": day, "node_type": "user", "id": i, "vector": [1.0, 0.0], "norm": 1.0, "degree": 1}
            for day in (MONDAY, TUESDAY)
            for i in range(3)
        ],
        schema=TABLES["interest_vectors"].arrow_schema,
    )
    version = lake.write("interest_vectors", vectors, where={"ds": MONDAY}, run=make_run(MONDAY))
    found = lake.to_arrow(
        "interest_vectors", version, filters={"as_of": TUESDAY, "id": [0, 2]}, columns=["id", "as_of"]
    )
    assert found.sort_by("id").to_pylist() == [{"id": 0, "as_of": TUESDAY}, {"id": 2, "as_of": TUESDAY}]
    assert {f.partition["as_of"] for f in lake.active_files("interest_vectors", version)} == {
        "2020-01-06",
        "2020-01-07",
    }
    assert sum(f.rows for f in lake.active_files("interest_vectors", version)) == 6


def test_the_schema_carries_each_columns_meaning_and_the_commit_its_run(
    lake: Lake, make_run: Callable[..., Run]
) -> None:
    lake.write("quarantine", quarantined(MONDAY, ["a"]), where={"ds": MONDAY, "step": "j"}, run=make_run(MONDAY))
    schema = lake.spark.read.format("delta").load(lake.table_path("quarantine")).schema
    fields = {field.name: field.metadata.get("comment") for field in schema}
    assert fields == {column.name: column.meaning for column in TABLES["quarantine"].columns}
    last = DeltaTable(f"{lake.path}/quarantine").history(1)[0]
    assert json.loads(last["userMetadata"])["run_id"] == "test-run"


def test_sparks_own_delta_reader_sees_the_same(lake: Lake, make_run: Callable[..., Run]) -> None:
    versions = []
    for through_spark, rows in ((True, ["a", "b"]), (False, ["c"]), (True, ["d", "e"])):
        table = quarantined(MONDAY, rows)
        frame = lake.spark.createDataFrame(table.to_pylist(), TABLES["quarantine"].spark_schema)
        where: dict[str, object] = {"ds": MONDAY, "step": "j"}
        written = frame if through_spark else table
        versions.append(lake.write("quarantine", written, where=where, run=make_run(MONDAY)))
    for version, count in zip(versions, (2, 1, 2), strict=True):
        reader = lake.spark.read.format("delta").option("versionAsOf", version)
        theirs = reader.load(lake.table_path("quarantine"))
        ours = lake.read("quarantine", version=version)
        assert theirs.columns == ours.columns and theirs.dtypes == ours.dtypes
        assert sorted(theirs.collect()) == sorted(ours.collect()) and ours.count() == count


def test_every_table_has_its_key_and_partitions_among_its_columns() -> None:
    for each in TABLES.values():
        assert set(each.key) | set(each.partitions) <= set(each.names), each.name


def test_tasks_write_files_and_a_failed_attempt_leaves_no_rows(lake: Lake, make_run: Callable[..., Run]) -> None:
    schema, monday = TABLES["quarantine"].arrow_schema, MONDAY

    def make(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:  # travels to the tasks, so it names no module's own
        columns = [
            {"ds": monday, "pipeline": "toy", "step": "j", "source": "s", "row_id": "i", "row": str(i), "reason": "r"}
            for i in rows["id"].to_pylist()
        ]
        yield "quarantine", pa.Table.from_pylist(columns, schema=schema)
        context = TaskContext.get()
        if context and context.partitionId() == 0 and context.attemptNumber() == 0:
            raise RuntimeError("killed after its file was written")

    where: dict[str, object] = {"ds": MONDAY, "step": "j"}
    for parts in (2, 5):
        lake.write_from_tasks(
            ["quarantine"], lake.spark.range(0, 20, 1, parts), make, where=where, run=make_run(MONDAY)
        )
        assert rows_of(lake) == sorted(("2020-01-06", str(i)) for i in range(20))
        assert sorted(r["row"] for r in lake.read("quarantine").collect()) == sorted(str(i) for i in range(20))


def test_readers_see_the_last_published_night_until_the_next_commit(lake: Lake, make_run: Callable[..., Run]) -> None:
    def publish(ds: date, version: int) -> Publication:
        night = Publication(
            "toy", ds, "test-run", {"quarantine": version}, "{}", "test", {"other": {"ds": "2020-01-05"}}
        )
        lake.publish(night, make_run(ds))
        return night

    assert lake.publication("toy") is None
    where: dict[str, object] = {"ds": MONDAY, "step": "j"}
    monday = lake.write("quarantine", quarantined(MONDAY, ["good"]), where=where, run=make_run(MONDAY))
    expected = publish(MONDAY, monday)
    # Tuesday's night dies before it publishes, after it has written, and even over Monday's rows.
    lake.write("quarantine", quarantined(MONDAY, ["half done"]), where=where, run=make_run(MONDAY))
    published = lake.publication("toy")
    assert published == expected and lake.publication("another") is None
    assert rows_of(lake, version=published.versions["quarantine"]) == [("2020-01-06", "good")]
    assert [row["row"] for row in lake.read("quarantine", version=monday).collect()] == ["good"]
    # Its rerun completes, and so does a second publication of the same night.
    for _ in range(2):
        version = lake.write("quarantine", quarantined(MONDAY, ["whole"]), where=where, run=make_run(MONDAY))
        publish(TUESDAY, version)
    assert lake.publication("toy", before=TUESDAY) == published
    latest = lake.publication("toy", ds=TUESDAY)
    assert latest is not None and rows_of(lake, version=latest.versions["quarantine"]) == [("2020-01-06", "whole")]
    assert lake.read("publications").groupBy("pipeline", "ds").count().where(F.col("count") > 1).isEmpty()


def test_a_table_of_an_older_version_of_the_code_gets_its_new_columns(
    lake: Lake, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old rows have nulls there; a new column that may not be null is named."""
    now = TABLES["nodes"]
    old = replace(now, columns=tuple(column for column in now.columns if column.name != "vector"))
    row = {"node_type": "item", "id": 7, "key": "k", "fields": [], "terms": [], "title": None, "vector": [0.5, 2.0]}
    for ds, definition in ((MONDAY, old), (TUESDAY, now)):
        monkeypatch.setitem(TABLES, "nodes", definition)
        rows = pa.Table.from_pylist([{"ds": ds, **row}], schema=definition.arrow_schema)
        lake.write("nodes", rows, where={"ds": ds}, run=make_run(ds))
    expected = [(MONDAY, None), (TUESDAY, [0.5, 2.0])]
    found = lake.to_arrow("nodes", lake.version("nodes"), columns=["ds", "vector"]).to_pylist()
    assert sorted((each["ds"], each["vector"]) for each in found) == expected
    by_spark = lake.read("nodes").select("ds", "vector").collect()
    assert sorted((each["ds"], each["vector"]) for each in by_spark) == expected
    assert "vector" in {field.name for field in DeltaTable(lake.table_path("nodes")).schema().fields}
    strict = replace(now, columns=tuple(replace(each, nullable=False) for each in now.columns))
    monkeypatch.setitem(TABLES, "nodes", strict)
    with pytest.raises(LakeError, match="has no column 'vector'; run its night again"):
        lake.to_arrow("nodes", lake.version("nodes"), columns=["vector"])
