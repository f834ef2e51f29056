"""Sources of the nights in ``conf`` are read as the real files are written: dates in three columns, quotes in names,
Latin-1 tags; those below ``$ROILAKE_DATA`` whole, where they are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.retrieval import ingest_events
from roilake.errors import SourceError
from roilake.ingest.files import find_files
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import attribute_rows, node_attributes, queries_of_items, source_events
from roilake.runtime.registry import load_config

CONF = Path(__file__).parents[3] / "conf" / "nights" / "retrieval"


def test_lastfm_is_read(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lastfm_tags"
    folder.mkdir()
    rows = [(n % 4, n % 5, n % 3, 1, 1 + n % 12, 2009 + n % 3) for n in range(20)]
    lines = ["userID\tartistID\ttagID\tday\tmonth\tyear", *("\t".join(map(str, row)) for row in rows)]
    (folder / "user_taggedartists_full.dat").write_text("\n".join(lines) + "\n")
    (folder / "artists.dat").write_text('id\tname\n0\tThe "Best" Band\n1\tSigur Rós\n2\tMuse\n3\tABBA\n4\tQueen\n')
    (folder / "tags.dat").write_bytes("tagID\ttagValue\n0\tmétal\n1\tpop\n2\tjazz\n".encode("latin-1"))
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path))
    config = load_config(CONF / "lastfm_tags.yaml", "retrieval")
    assert isinstance(config, RetrievalConfig) and config.default_ds is not None
    result = ingest_events.run(lake, config, config.default_ds)
    later = sum(year > 2010 for *_, year in rows)
    assert (result.rows_out, result.rows_later, result.rows_quarantined) == (20 - later, later, 0)
    events = lake.to_arrow("events", lake.version("events")).to_pylist()
    assert {(e["user"], e["item"], e["query"], e["time"].year) for e in events} == {
        (str(user), str(item), str(tag), year) for user, item, tag, _, _, year in rows if year <= 2010
    }
    rows = attribute_rows(lake.spark, config.source)
    assert rows is not None and rows.where("reason IS NOT NULL").isEmpty()
    found = {(row["node_type"], row["key"]): row["terms"] for row in node_attributes(rows).collect()}
    assert found["item", "0"] == ["the", "best", "band"] and found["item", "1"] == ["sigur", "rós"]
    assert found["query", "0"] == ["métal"]


def real(name: str) -> RetrievalConfig:
    """The config of that name; skips where its data is not there."""
    config = load_config(CONF / f"{name}.yaml", "retrieval")
    assert isinstance(config, RetrievalConfig)
    try:
        find_files(config.source.events.path)
    except SourceError as error:
        pytest.skip(str(error))
    return config


@pytest.mark.parametrize(
    ("name", "asked", "unasked", "users", "items", "queries", "first", "last"),
    [
        ("foursquare", 147_938, 0, 1083, 5135, 0, "2012-04-03 18:01:00", "2013-02-16 02:35:00"),
        ("trivago", 19_070, 80_933, 6593, 12_179, 2999, "2018-11-07 00:55:36", "2018-12-24 23:52:48"),
        ("online_retail", 788_247, 2867, 5853, 4619, 0, "2009-12-01 07:45:00", "2011-12-09 12:50:00"),
    ],
)
def test_every_row_of_a_real_file_is_an_event_or_not_asked_for(
    spark: SparkSession,
    name: str,
    asked: int,
    unasked: int,
    users: int,
    items: int,
    queries: int,
    first: str,
    last: str,
) -> None:
    rows = source_events(spark, real(name).source)
    distinct = (F.count_distinct(kind) for kind in ("user", "item", "query"))
    none = F.count_if(F.col("user").isNull() | F.col("item").isNull() | F.col("time").isNull())
    times = (function("time").cast("string") for function in (F.min, F.max))
    found = rows.groupBy("unasked").agg(F.count(F.lit(1)), none, *distinct, *times).collect()
    counts = {row["unasked"]: tuple(row)[1:] for row in found}
    assert counts[False] == (asked, 0, users, items, queries, first, last)
    assert (counts[True][0] if unasked else 0) == unasked and len(counts) == 1 + bool(unasked)


def test_queries_and_titles_of_the_real_files(spark: SparkSession) -> None:
    """A venue asks for its category, or else for its top category's name; a quote is a character of a title."""
    found = queries_of_items(spark, real("foursquare").source)
    assert found is not None
    queries = {row["item"]: row["queries"] for row in found.collect()}
    assert (queries["1"], queries["2"]) == (["149"], ["Nightlife Spot"])
    assert (len(queries), {len(asked) for asked in queries.values()}) == (4661, {1})
    titles = {
        "foursquare": ("2", "Nightlife Spot at 40.7564 -73.9677"),
        "trivago": ("5967314", "Marseille, France"),
        "online_retail": ("22041", 'RECORD FRAME 7" SINGLE SIZE'),
    }
    for name, (key, title) in titles.items():
        source = real(name).source
        rows = attribute_rows(spark, source.model_copy(update={"users": None, "queries": None}))
        assert rows is not None and rows.where("reason IS NOT NULL AND left_out IS NULL").isEmpty()
        assert [row["title"] for row in node_attributes(rows.where(F.col("key") == key)).collect()] == [title]
