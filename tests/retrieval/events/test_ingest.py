"""Sources become events; what cannot become one is kept with its reason; later nights add only what is new."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.retrieval import ingest_events
from roilake.config.base import FileSource
from roilake.errors import AuditError, SourceError
from roilake.ingest import UNASKED
from roilake.ingest.rows import STRANGE_TIME
from roilake.ingest.sources import read_source
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import KNOWN

DS = date(2020, 1, 10)
HEADER = "user,item,query,time\n"
GOOD = "ann,tea,hot,2020-01-01 10:00:00\nbob,milk,cold,2020-01-02 10:00:00\n"


def events(lake: Lake) -> list[dict[str, Any]]:
    rows = lake.to_arrow("events", lake.version("events")).to_pylist()
    return sorted(rows, key=lambda row: (row["ds"], row["time"], row["event_id"]))


def quarantine(lake: Lake) -> list[tuple[str, str]]:
    rows = lake.to_arrow("quarantine", lake.version("quarantine")).to_pylist()
    return sorted((row["row"], row["reason"]) for row in rows)


def test_rows_that_make_no_event_are_kept_with_a_reason(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    bad = [
        "ann,tea,hot,1970-01-19 10:00:00",  # seconds taken for milliseconds
        ",tea,hot,2020-01-01 11:00:00",
        "ann, ,hot,2020-01-01 11:00:00",
        "ann,tea,hot,yesterday",
        "ann,tea,hot,2020-01-01 11:00:00,one,too,many",
    ]
    night = make_night(HEADER + GOOD + "\n".join(bad) + "\n", source={"quarantine_budget": 1.0})
    result = ingest_events.run(lake, night, DS)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (7, 2, 5)
    assert result.rows_in == result.rows_out + result.rows_quarantined
    assert result.details["rejected"] == {
        "does not parse": 1,
        "no item": 1,
        "no time": 1,
        "no user": 1,
        STRANGE_TIME: 1,
    }
    reasons = dict(quarantine(lake))
    assert reasons['{"line":"ann,tea,hot,2020-01-01 11:00:00,one,too,many"}'] == "does not parse"
    assert reasons['{"user":"ann","item":"tea","query":"hot","time":"yesterday"}'] == "no time"


def where(night: RetrievalConfig, condition: str) -> RetrievalConfig:
    """The night of which the events source has this condition."""
    events = night.source.events.model_copy(update={"where": condition})
    return night.model_copy(update={"source": night.source.model_copy(update={"events": events})})


def test_rows_that_the_condition_does_not_hold_for_are_left_out_and_counted(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    """Whatever else is wrong with them; a condition that is unknown does not hold. A line that does not parse has no
    columns to judge by and is rejected."""
    others = ",tea,cold,2020-01-01 11:00:00\nann,tea,,2020-01-01 12:00:00\nann,tea,cold,2020-02-01 12:00:00\n"
    night = make_night(HEADER + GOOD + others + "ann,tea,hot,2020,one,too,many\n", source={"quarantine_budget": 0.5})
    result = ingest_events.run(lake, where(night, "query = 'hot'"), DS)
    assert [(row["user"], row["query"]) for row in events(lake)] == [("ann", "hot")]
    assert (result.rows_in, result.rows_out, result.rows_quarantined, result.rows_later) == (2, 1, 1, 0)
    assert (result.details["left_out"], result.details["rejected"]) == ({UNASKED: 4}, {"does not parse": 1})
    with pytest.raises(SourceError, match=r"source\.events\.where: 'query' is no condition, but a string"):
        ingest_events.run(lake, where(night, "query"), DS)


def test_above_the_budget_the_rejected_rows_are_written_and_nothing_else(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    night = make_night(HEADER + GOOD + ",tea,hot,2020-01-01 11:00:00\n", source={"quarantine_budget": 0.3})
    with pytest.raises(
        AuditError, match=r"1 of 3 rows were rejected \(1 no user\), above source.quarantine_budget 0.3"
    ):
        ingest_events.run(lake, night, DS)
    assert [reason for _, reason in quarantine(lake)] == ["no user"]
    assert not lake.exists("events")


def test_a_later_night_adds_what_is_new_and_counts_old_rejects_no_more(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    text = HEADER + GOOD + ",tea,hot,2020-01-01 11:00:00\n"
    late = "eve,tea,,2020-01-11 09:00:00\neve,milk,,2020-01-11 23:59:59\n"
    night = make_night(text + late, source={"quarantine_budget": 0.4})
    first = ingest_events.run(lake, night, DS)
    assert (first.rows_in, first.rows_out, first.rows_quarantined, first.rows_later) == (5, 2, 1, 2)
    assert first.details["left_out"] == {}
    second = ingest_events.run(lake, night, DS + timedelta(days=1))
    assert (second.rows_in, second.rows_out, second.rows_quarantined, second.rows_later) == (2, 2, 0, 0)
    assert second.details["left_out"] == {KNOWN: 3}  # two events and a reject
    assert [(row["user"], row["query"], row["ds"].day) for row in events(lake)] == [
        ("ann", "hot", 10),
        ("bob", "cold", 10),
        ("eve", None, 11),
        ("eve", None, 11),
    ]
    assert quarantine(lake) == [('{"item":"tea","query":"hot","time":"2020-01-01 11:00:00"}', "no user")]


def test_a_rerun_gives_the_same_table_and_a_corrected_one_the_corrected(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    night = make_night(HEADER + GOOD + ",tea,hot,2020-01-01 11:00:00\n", source={"quarantine_budget": 1.0})
    ingest_events.run(lake, night, DS)
    before = events(lake)
    ingest_events.run(lake, night, DS)
    assert events(lake) == before
    ingest_events.run(lake, make_night(HEADER + GOOD.splitlines()[0] + "\n"), DS)
    assert [row["user"] for row in events(lake)] == ["ann"]
    assert quarantine(lake) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": "buyer"},
            r"events.csv: source.events.columns.user: 'buyer' does not fit: there is no column `buyer`; columns are",
        ),
        ({"time": "((time"}, r"source.events.columns.time: '\(\(time' does not fit"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    lake: Lake, make_night: Callable[..., RetrievalConfig], columns: dict[str, str], message: str
) -> None:
    night = make_night(HEADER + GOOD)
    mapping = night.source.events.columns.model_copy(update=columns)
    source = night.source.model_copy(update={"events": night.source.events.model_copy(update={"columns": mapping})})
    with pytest.raises(SourceError, match=message) as caught:
        ingest_events.run(lake, night.model_copy(update={"source": source}), DS)
    assert "\n" not in str(caught.value)
    assert not lake.exists("events") and not lake.exists("runs")


def test_an_attribute_column_that_is_not_there_is_named(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    items = {"path": str(Path(lake.path).parent / "events.csv"), "format": "csv", "key": "item"}
    night = make_night(HEADER + GOOD, source={"items": items, "query_of_item": "split(genre, ' ')"})
    with pytest.raises(SourceError, match=r"source.query_of_item: .* does not fit"):
        ingest_events.run(lake, night, DS)


def test_an_event_without_a_query_takes_one_of_its_items(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    catalogue = Path(lake.path).parent / "items.csv"
    catalogue.write_text("id,genres\ntea,hot green\nmilk,\n")
    rows = "".join(f"ann,tea,,2020-01-01 10:00:{i:02d}\n" for i in range(40))
    rows += "ann,milk,,2020-01-01 11:00:00\nann,tea,own,2020-01-01 12:00:00\n"
    items = {"path": str(catalogue), "format": "csv", "key": "id"}
    night = make_night(HEADER + rows, source={"items": items, "query_of_item": "split(genres, ' ')"})
    ingest_events.run(lake, night, DS)
    drawn = {(row["item"], row["query"]) for row in events(lake)}
    assert drawn == {("tea", "hot"), ("tea", "green"), ("milk", None), ("tea", "own")}


def test_a_pause_starts_a_new_session(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    minutes = [0, 20, 51, 81]  # gaps of 20, 31 and 30
    rows = "".join(f"ann,i{m},q,2020-01-01 {10 + m // 60}:{m % 60:02d}:00\n" for m in minutes)
    ingest_events.run(lake, make_night(HEADER + rows + "bob,i0,q,2020-01-01 10:00:00\n"), DS)
    by_item = {(row["user"], row["item"]): row["session"] for row in events(lake)}
    assert by_item["ann", "i0"] == by_item["ann", "i20"] != by_item["ann", "i51"] == by_item["ann", "i81"]
    assert by_item["bob", "i0"] not in {by_item["ann", "i0"], by_item["ann", "i51"]}


def test_json_with_broken_lines_and_parquet_are_read_too(
    lake: Lake, spark: SparkSession, make_night: Callable[..., RetrievalConfig]
) -> None:
    folder = Path(lake.path).parent
    (folder / "e.json").write_text(
        '{"user": "ann", "item": "tea", "time": "2020-01-01 10:00:00"}\n{"user": "bob", "item"\n'
    )
    columns = {"user": "user", "item": "item", "time": "time"}
    source: dict[str, Any] = {"path": str(folder / "e.json"), "format": "json", "columns": columns}
    night = make_night("", source={"events": source, "quarantine_budget": 0.5})
    ingest_events.run(lake, night, DS)
    assert [row["user"] for row in events(lake)] == ["ann"]
    assert quarantine(lake) == [('{"line":"{\\"user\\": \\"bob\\", \\"item\\""}', "does not parse")]
    spark.createDataFrame(
        [("eve", "tea", "2020-01-01 10:00:00")], "user string, item string, time string"
    ).write.parquet(str(folder / "e.parquet"))
    parquet = {**source, "path": str(folder / "e.parquet"), "format": "parquet"}
    ingest_events.run(lake, make_night("", source={"events": parquet}), DS)
    assert [row["user"] for row in events(lake)] == ["eve"]


def test_an_empty_file_says_so(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(SourceError, match="holds no columns"):
        read_source(spark, FileSource(path=str(tmp_path / "empty.csv"), format="csv"))


def test_a_file_with_a_header_only_makes_no_event(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    result = ingest_events.run(lake, make_night(HEADER), DS)
    assert (result.rows_in, result.rows_out) == (0, 0)
    assert events(lake) == []
