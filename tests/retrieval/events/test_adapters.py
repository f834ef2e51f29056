"""The Last.fm tags are read as the real files are written: dates in three columns, quotes in names, Latin-1 tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.retrieval import ingest_events
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import attribute_rows, node_attributes
from roilake.runtime.registry import load_config

CONF = Path(__file__).parents[3] / "conf" / "nights" / "retrieval" / "lastfm_tags.yaml"


def test_lastfm_is_read(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lastfm_tags"
    folder.mkdir()
    rows = [(n % 4, n % 5, n % 3, 1, 1 + n % 12, 2009 + n % 3) for n in range(20)]
    lines = ["userID\tartistID\ttagID\tday\tmonth\tyear", *("\t".join(map(str, row)) for row in rows)]
    (folder / "user_taggedartists_full.dat").write_text("\n".join(lines) + "\n")
    (folder / "artists.dat").write_text('id\tname\n0\tThe "Best" Band\n1\tSigur Rós\n2\tMuse\n3\tABBA\n4\tQueen\n')
    (folder / "tags.dat").write_bytes("tagID\ttagValue\n0\tmétal\n1\tpop\n2\tjazz\n".encode("latin-1"))
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path))
    config = load_config(CONF, "retrieval")
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
