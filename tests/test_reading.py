"""Published tables are read without Spark: the right night's rows, and one clear line when that cannot be."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow.dataset import dataset

from roilake import read, read_arrow
from roilake.errors import LakeError
from roilake.lake import Lake, Publication, Run
from roilake.runtime.registry import tables

MONDAY, TUESDAY, WEDNESDAY = (date(2020, 1, day) for day in (6, 7, 8))


def item(ds: date, user: str, rank: int, score: float, query: str | None = "q") -> dict[str, Any]:
    return {"ds": ds, "user": user, "query": query, "rank": rank, "item": f"i{rank}", "score": score, "model": "m"}


def identity(ds: date, key: str) -> dict[str, Any]:
    return {"ds": ds, "pipeline": "retrieval", "node_type": "user", "key": key, "id": ord(key)}


def a_run(ds: date, pipeline: str = "retrieval") -> Run:
    return Run("r", pipeline, ds, "test", "c", "v")


def write(lake: Lake, table: str, run: Run, *rows: dict[str, Any]) -> None:
    made = pa.Table.from_pylist(
        [{"pipeline": run.pipeline, **row} for row in rows], schema=tables()[table].arrow_schema
    )
    lake.write(table, made, where={"ds": run.ds}, run=run)


def publish(lake: Lake, run: Run, *names: str) -> None:
    versions = {table: lake.version(table) for table in names}
    lake.publish(Publication(run.pipeline, run.ds, run.run_id, versions, "{}", run.code_revision), run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monday and Tuesday are published, only Tuesday with ``nodes``. Monday's rows were written again after its
    publication, and Wednesday's were never published."""
    lake = Lake(None, tmp_path_factory.mktemp("reading") / "lake")
    write(lake, "recommendations", a_run(MONDAY), item(MONDAY, "a", 1, 0.5), item(MONDAY, "b", 1, 0.6))
    write(lake, "node_ids", a_run(MONDAY), identity(MONDAY, "a"), identity(MONDAY, "b"))
    publish(lake, a_run(MONDAY), "recommendations", "node_ids")
    write(lake, "recommendations", a_run(TUESDAY), item(TUESDAY, "a", 1, 0.7), item(TUESDAY, "a", 2, 0.1, None))
    write(lake, "node_ids", a_run(TUESDAY), identity(TUESDAY, "c"))
    write(lake, "nodes", a_run(TUESDAY), {**identity(TUESDAY, "a"), "fields": [("age", "30")], "terms": []})
    write(lake, "recommendations", a_run(MONDAY), item(MONDAY, "a", 1, 99.0))
    publish(lake, a_run(TUESDAY), "recommendations", "node_ids", "nodes")
    write(lake, "recommendations", a_run(WEDNESDAY), item(WEDNESDAY, "a", 1, 0.9))
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


def test_a_version_that_nobody_published_is_read_as_the_readme_says(folder: Path) -> None:
    """``to_pandas`` of deltalake 1.6 wants a pyarrow that petastorm cannot live with."""
    lake = Lake(None, folder)
    version = lake.version("recommendations")
    table = DeltaTable(f"{folder}/recommendations", version=version)
    with pytest.raises(TypeError, match="field"):
        table.to_pandas()
    rows = dataset(table.file_uris(), partitioning="hive").to_table().to_pandas()
    own = lake.to_arrow("recommendations", version).to_pandas().astype({"ds": str})
    order = ["ds", "user", "rank"]
    pd.testing.assert_frame_equal(
        rows[own.columns].sort_values(order, ignore_index=True), own.sort_values(order, ignore_index=True)
    )
    assert {*rows["ds"]} == {str(MONDAY), str(TUESDAY), str(WEDNESDAY)} and 99.0 in set(rows["score"])


def test_some_columns_of_some_rows(folder: Path) -> None:
    rows = read("recommendations", lake=folder, columns=["score", "user"], where={"rank": 1})
    assert rows.to_dict("list") == {"score": [0.7], "user": ["a"]}
    assert scores(read("recommendations", lake=folder, ds="all", where={"user": ["b", "x"]})) == [0.6]
    assert scores(read("recommendations", lake=folder, where={"query": None})) == [0.1]
    assert read("recommendations", lake=folder, where={"user": "nobody"}).empty


def test_arrow_keeps_the_types_and_pandas_gets_dicts(folder: Path) -> None:
    schema = tables()["recommendations"].arrow_schema
    assert read_arrow("recommendations", lake=folder).schema == schema
    assert read_arrow("recommendations", lake=folder, ds="all").schema == schema
    assert read("nodes", lake=folder)["fields"].tolist() == [{"age": "30"}]


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ("recomendations", {}, "no such table; there are node_ids"),
        ("metrics", {}, "night 2020-01-07 was published without a table 'metrics'"),
        ("nodes", {"ds": MONDAY}, "night 2020-01-06 was published without a table 'nodes'"),
        (
            "nodes",
            {"ds": "2020-01-08"},
            "no night 2020-01-08 of 'retrieval' is published there; the last ones are 2020-01-06, 2020",
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
    folder: Path, table: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LakeError) as caught:
        read(table, lake=folder, **arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_lake_without_a_published_night_says_so(tmp_path: Path) -> None:
    Lake(None, tmp_path / "lake").write(
        "node_ids", tables()["node_ids"].arrow_schema.empty_table(), where={"ds": MONDAY}, run=a_run(MONDAY)
    )
    with pytest.raises(LakeError, match="no night at all is published there; run `roilake night` first"):
        read("node_ids", lake=tmp_path / "lake")
    with pytest.raises(LakeError, match="no night of 'conversion' is published there"):
        read("cvr_scores", lake=tmp_path / "lake")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Retrieval published Monday and Wednesday, conversion Monday and Tuesday, Monday's last of all."""
    lake = Lake(None, tmp_path_factory.mktemp("several") / "lake")
    order = ((MONDAY, "retrieval"), (TUESDAY, "conversion"), (WEDNESDAY, "retrieval"), (MONDAY, "conversion"))
    for value, (ds, name) in enumerate(order):
        run = a_run(ds, name)
        measure = {"run": "r", "model": "m", "split": "test", "slice": "all", "metric": "auc", "n": 1}
        write(lake, "metrics", run, {"ds": ds, **measure, "value": float(value)})
        write(lake, "node_ids", run, {"ds": ds, "node_type": "user", "key": f"{name} {ds.day}", "id": value})
        if name == "retrieval":
            write(lake, "recommendations", run, item(ds, "a", 1, float(value)))
        publish(lake, run, "metrics", "node_ids", *(["recommendations"] if name == "retrieval" else []))
    return lake.folder


def values(folder: Path, **arguments: Any) -> dict[tuple[str, date], float]:
    rows = read("metrics", lake=folder, **arguments)
    return dict(zip(zip(rows["pipeline"], rows["ds"], strict=True), rows["value"], strict=True))


def test_each_pipeline_has_nights_of_its_own(several: Path) -> None:
    last = {("conversion", TUESDAY): 1.0, ("retrieval", WEDNESDAY): 2.0}
    assert values(several) == last
    assert values(several, pipeline="conversion") == {("conversion", TUESDAY): 1.0}
    assert values(several, ds=MONDAY) == {("conversion", MONDAY): 3.0, ("retrieval", MONDAY): 0.0}
    assert values(several, ds="2020-01-07") == {("conversion", TUESDAY): 1.0}
    assert len(values(several, ds="all")) == 4
    assert len(values(several, ds=[TUESDAY, WEDNESDAY])) == 2
    assert values(several, ds="all", pipeline="retrieval").keys() == {("retrieval", d) for d in (MONDAY, WEDNESDAY)}
    assert set(read("publications", lake=several)["pipeline"]) == {"retrieval", "conversion"}
    assert scores(read("recommendations", lake=several)) == [2.0]
    assert scores(read("recommendations", lake=several, pipeline="retrieval", ds=MONDAY)) == [0.0]


def test_ids_are_those_of_all_pipelines_up_to_the_night(several: Path) -> None:
    everyone = ["conversion 6", "conversion 7", "retrieval 6", "retrieval 8"]
    until = ((MONDAY, "6"), (TUESDAY, "67"), (None, "678"), ("all", "678"))
    for ds, days in until:
        found = sorted(read("node_ids", lake=several, ds=ds)["key"])
        assert found == [key for key in everyone if key[-1] in days]
    assert list(read("node_ids", lake=several, pipeline="conversion", ds=MONDAY)["key"]) == ["conversion 6"]


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ("recommendations", {"pipeline": "conversion"}, "is a table of pipeline 'retrieval', not of 'conversion'"),
        ("metrics", {"pipeline": "serving"}, "no pipeline 'serving'; there are retrieval, conversion"),
        ("metrics", {"pipeline": "conversion", "ds": WEDNESDAY}, "no night 2020-01-08 of 'conversion' is published"),
        ("recommendations", {"ds": TUESDAY}, "no night 2020-01-07 of 'retrieval' is published there; the last ones"),
        ("cvr_scores", {}, "night 2020-01-07 was published without a table 'cvr_scores'"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_one_line(
    several: Path, table: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LakeError) as caught:
        read(table, lake=several, **arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_readers_load_neither_spark_nor_torch(several: Path) -> None:
    code = (
        f"import roilake, sys; roilake.read('metrics', lake={str(several)!r}, ds='all');"
        "print([name for name in ('pyspark', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
