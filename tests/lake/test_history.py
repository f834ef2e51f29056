"""Published nights stay readable: whatever Delta cleans, and whatever runs of the same night replace later."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, QueryBuilder, Schema
from pyspark.sql import SparkSession

from roilake import read
from roilake.errors import LakeError
from roilake.lake import TABLES, Lake
from roilake.lake.history import PROPERTIES
from roilake.report import compare, gather, published
from tests.report.small_lake import FIRST, SECOND, a_run, event, metric, publish, step, write, write_lake, write_night

NIGHTS = 60
YEAR = 365 * 86400


def age(lake: Lake) -> None:
    """As if all that is there had been written a year ago."""
    then = time.time() - YEAR
    for path in lake.folder.rglob("*"):
        os.utime(path, (then, then))


def short(ds: date, run_id: str) -> dict[str, list[dict]]:
    run = a_run(run_id, "retrieval", ds)
    steps = [step(run, name, 1) for name in ("ingest_events", "train_models", "publish_night")]
    return {"runs": steps, "metrics": [metric(run, "zoomer", 0.5 + ds.day / 100)]}


def test_nights_of_a_year_ago_are_read_after_delta_has_cleaned_up(tmp_path: Path) -> None:
    """As many commits as make each table write checkpoints, by which Delta cleans its log; then by hand, too."""
    lake = write_lake(tmp_path / "lake")
    days = [SECOND + timedelta(days=n) for n in range(1, NIGHTS + 1)]
    for number, ds in enumerate(days):
        if number % 20 == 0:
            age(lake)
        run = a_run(f"run{number:03}", "retrieval", ds)
        publish(lake, run, short(ds, run.run_id), {"default_model": "zoomer", "models": {}})
    age(lake)
    for name in ("runs", "metrics", "publications"):
        log = lake.folder / name / "_delta_log"
        assert len(list(log.glob("*.checkpoint.parquet"))) >= 1
        DeltaTable(lake.table_path(name)).cleanup_metadata()
        assert len(list(log.glob("*.json"))) == lake.version(name) + 1
    runs = read("runs", lake=lake.folder, ds="all")
    assert runs.groupby("ds").size().to_dict() == {FIRST: 6, SECOND: 6, **dict.fromkeys(days, 3)}
    assert len(read("metrics", lake=lake.folder, ds="all")) == 2 * 2 + NIGHTS
    assert gather(lake, published(lake, None, SECOND), since=FIRST).night.rows["runs"] == 6
    assert compare(lake, str(FIRST), str(days[-1])).changes


def replace_unpublished(lake: Lake, ds: date) -> None:
    """A later run of a published night replaces rows, and is not published."""
    run = a_run("unseen", "retrieval", ds)
    write(lake, run, "metrics", [metric(run, "zoomer", 0.99)])
    write(lake, run, "events", [event(ds, hour) for hour in range(20)])
    write(lake, run, "runs", [{**step(run, name, 1), "rows_in": 99} for name in ("ingest_events", "publish_night")])


def seen(lake: Lake) -> list[list[dict]]:
    """All that readers see of the published nights."""
    found = [read(name, lake=lake.folder, ds="all") for name in ("metrics", "runs", "events", "rois")]
    found += [read("events", lake=lake.folder, ds=FIRST), read("node_ids", lake=lake.folder, ds=FIRST)]
    return [sorted(rows.astype(str).to_dict("records"), key=str) for rows in found]


def vacuum(lake: Lake) -> int:
    """Take all that no version refers to by now; how many files went."""
    tables = [DeltaTable(str(log.parent)) for log in lake.folder.glob("*/_delta_log")]
    return sum(len(each.vacuum(0, dry_run=False, enforce_retention_duration=False)) for each in tables)


def test_vacuum_leaves_published_nights_whole(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    lake.files.write_text("trained/retrieval/zoomer/weights", "w")
    before = seen(lake)
    replace_unpublished(lake, FIRST)
    replace_unpublished(lake, SECOND)
    assert vacuum(lake) > 4 and seen(lake) == before
    assert gather(lake, published(lake, None, SECOND)).night.rows["events"] == 2
    assert lake.files.read_text("trained/retrieval/zoomer/weights") == "w"
    # Published anew, the night is another; of the run before nothing is kept but what the next night reads too.
    write_night(lake, FIRST, auc=0.9, events=3, rejected=0, epochs=3, run_id="again")
    assert vacuum(lake) > 0
    kept = {path.parts[-3] for path in (lake.folder / "_kept").rglob("*.parquet") if f"ds={FIRST}" in path.parts}
    assert kept == {"events"}
    assert set(read("metrics", lake=lake.folder, ds=FIRST)["value"]) == {0.9, 0.6}
    assert len(read("events", lake=lake.folder, ds=SECOND, where={"ds": FIRST})) == 4
    with pytest.raises(LakeError, match="is gone, as VACUUM takes what no published night reads"):
        compare(lake, f"run{FIRST:%m%d}abc", str(SECOND))


def test_compacted_tables_are_read_all_the_same(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    before = seen(lake)
    for name in ("metrics", "runs", "events"):
        table = DeltaTable(lake.table_path(name))
        assert table.optimize.z_order([TABLES[name].names[-1]])["numFilesAdded"] > 0
    assert vacuum(lake) > 4 and seen(lake) == before


def test_sparks_vacuum_and_readers(spark: SparkSession, tmp_path: Path) -> None:
    """Columns that are never null are declared so, and Spark reads, cleans up and compacts such tables."""
    lake = Lake.open(spark, write_lake(tmp_path / "lake").folder, create=False)
    before = seen(lake)
    replace_unpublished(lake, FIRST)
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    for log in sorted(lake.folder.glob("*/_delta_log")):
        spark.sql(f"VACUUM delta.`{log.parent}` RETAIN 0 HOURS")
    assert seen(lake) == before
    night = lake.publication("retrieval", ds=FIRST)
    assert night is not None
    rows = lake.read("events", version=night.versions["events"]).where(f"ds = '{FIRST}'")
    assert sorted(rows.toPandas()["event_id"]) == [f"{FIRST}/{hour}" for hour in range(4)]
    theirs = spark.read.format("delta").load(lake.table_path("events"))
    fields = {column.name: column.nullable for column in TABLES["events"].columns}
    assert {field.name: field.nullable for field in theirs.schema} == fields and theirs.count() == 22
    assert not all(fields.values()) and any(fields.values())
    frame = spark.createDataFrame([event(SECOND, 1) | {"ds": SECOND}], TABLES["events"].spark_schema)
    lake.write("events", frame, where={"ds": SECOND}, run=a_run("r", "retrieval", SECOND))
    assert theirs.count() == 21
    query = QueryBuilder().register("events", DeltaTable(lake.table_path("events")))
    assert pa.table(query.execute("SELECT count(*) AS n FROM events"))["n"].to_pylist() == [21]


def test_a_null_that_may_not_be_is_refused(tmp_path: Path) -> None:
    lake = Lake(None, tmp_path / "lake")
    with pytest.raises(LakeError, match="events: 'item' is null in 1 of 2 rows, and never may be"):
        write(lake, a_run("r", "retrieval", FIRST), "events", [event(FIRST, 1), {**event(FIRST, 2), "item": None}])
    assert not lake.exists("events")


def test_a_lake_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Its tables declare every column nullable and clean their logs."""
    lake, table = Lake(None, tmp_path / "lake"), TABLES["quarantine"]
    fields = [Field(f.name, f.type) for f in Schema.from_arrow(table.arrow_schema).fields]
    DeltaTable.create(lake.table_path("quarantine"), Schema(fields), partition_by=list(table.partitions))
    row = {"step": "j", "row": "a", "reason": "r", "source": "s", "row_id": "i"}
    for ds in (FIRST, SECOND):
        write(lake, a_run("r", "retrieval", ds), "quarantine", [row])
    assert lake.to_arrow("quarantine", lake.version("quarantine")).num_rows == 2
    stored = DeltaTable(lake.table_path("quarantine"))
    assert stored.metadata().configuration == PROPERTIES
    assert pa.schema(stored.schema().to_arrow()).field("row").nullable
