"""A night sums up its own events only; its tables are those of a build of all events."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.retrieval import build_graph, ingest_events
from roilake.lake import TABLES as TABLES_BY_NAME
from roilake.lake import DataFile, Lake, Run
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import build
from roilake.pipelines.retrieval.graph.incremental import IncrementalAggregates, Snapshot, StaleSumsError, check_parts
from roilake.pipelines.retrieval.graph.plan import Plan, Runs
from roilake.pipelines.retrieval.graph.spill import write_parts
from roilake.runtime.step import StepResult
from tests.retrieval.graph.test_graph_jobs import random_events, rows

FIRST = date(2020, 1, 8)
TABLES = ("node_ids", "nodes", "edges", "adjacency")


def night(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    ingest_events.run(lake, config, ds)
    return build_graph.run(lake, config, ds)


def tables(lake: Lake, ds: date) -> dict[str, list[dict[str, Any]]]:
    return {table: rows(lake, table, ds=ds) for table in TABLES}


def check_histories(lake: Lake) -> None:
    """Each night's rows are its distinct events by ids, by the definition."""
    ids = {(row["node_type"], row["key"]): row["id"] for row in rows(lake, "node_ids")}
    expected = {
        (e["ds"], ids["user", e["user"]], e["time"], ids["item", e["item"]], ids.get(("query", e["query"]), -1))
        for e in rows(lake, "events")
    }
    found = [(row["ds"], row["user"], row["time"], row["item"], row["query"]) for row in rows(lake, "histories")]
    assert sorted(found) == sorted(expected) and {row[-1] for row in found} >= {-1, 0}


def snapshots(lake: Lake) -> list[dict[str, Any]]:
    return json.loads((lake.lasting("graph_sums") / "snapshots.json").read_text())["snapshots"]


@pytest.fixture
def config(make_night: Callable[..., RetrievalConfig]) -> RetrievalConfig:
    """Eight days of events, then three of a dozen; items have titles, so that some are similar."""
    night = make_night(
        random_events(11), graph={"max_neighbours": 3, "half_life_days": 0.5, "similarity": {"min_jaccard": 0.2}}
    )
    catalogue = Path(night.source.events.path).parent / "items.csv"
    titles = [f"i{taste}{n},{'fish' if taste else 'meat'} word{n % 2}" for taste in (0, 1) for n in range(5)]
    catalogue.write_text("id,title\n" + "\n".join(titles) + "\n")
    items = {"path": str(catalogue), "format": "csv", "key": "id", "terms": "title", "fields": {}}
    tree = night.model_dump(mode="json")
    tree["source"]["items"] = items
    return RetrievalConfig.model_validate(tree)


def test_nights_add_their_own_events(
    lake: Lake,
    config: RetrievalConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    make_run: Callable[..., Run],
) -> None:
    monkeypatch.setattr(build, "HUB_EVENTS", 10)
    caplog.set_level("INFO", "roilake")
    first = night(lake, config, FIRST)
    assert first.details["new_events"] == first.rows_in == 96
    source = Path(config.source.events.path)
    more = "".join(f"u11,i0{n % 5},,2020-01-09 01:{n:02}:03\n" for n in range(21))
    source.write_text(source.read_text() + more)
    second = night(lake, config, FIRST + timedelta(days=1))
    assert second.details["new_events"] == 33
    assert [some["events"] for some in snapshots(lake)] == [129]  # compacted above a quarter
    base = lake.lasting("graph_sums") / snapshots(lake)[0]["name"]
    assert np.load(base / "spread-user.npy").max() > 1

    last = FIRST + timedelta(days=2)
    source.write_text(source.read_text() + "u00,i13,q1 word9,2020-01-03 01:02:03\n")  # late, with a new query
    third = night(lake, config, last)
    assert third.details["new_events"] == 13 and [some["events"] for some in snapshots(lake)] == [129, 13]
    made = tables(lake, last)
    index = lake.lasting("graph_sums") / "snapshots.json"
    index.write_text(index.read_text().replace(snapshots(lake)[0]["keys"], "0" * 32))
    again = build_graph.run(lake, config, last)
    assert again.details["new_events"] == again.rows_in == 142 and tables(lake, last) == made
    assert "ids have changed since 2020-01-09: all events are summed up again" in caplog.text
    check_histories(lake)
    check_corrected_night(lake, config, monkeypatch, make_run(FIRST))


def check_corrected_night(lake: Lake, config: RetrievalConfig, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Half of the first night's events are gone, and one of the others is there twice: only its rows change."""
    events = lake.to_arrow("events", lake.version("events"), filters={"ds": FIRST})
    twice = events.slice(95).set_column(events.column_names.index("event_id"), "event_id", pa.array(["again"]))
    lake.write("events", pa.concat_tables([events.slice(48), twice]), where={"ds": FIRST}, run=run)
    with monkeypatch.context() as patched:
        patched.setattr(build, "slice_events", lambda *_: 7)
        build_graph.run(lake, config, FIRST)
    check_histories(lake)
    files = lake.active_files("histories", ds=FIRST)
    assert len(files) > 2 and sum(file.rows for file in files) == 48
    build_graph.run(lake, config, FIRST)
    assert lake.active_files("histories", ds=FIRST) == files  # the same rows, cut otherwise, are no new version


def test_sums_that_do_not_fit_are_left_aside(tmp_path: Path) -> None:
    instants = date(2020, 1, 2), date(2020, 1, 9)
    plan = Plan(tmp_path, date(2020, 1, 8), instants, 3.0, 10, {}, parts=4, timed=True, first=0)
    cuts = plan.own.cuts
    base, night = (
        Snapshot(name, ds, (f"ds={ds}/{name}",), 10, {}, "", tuple(cuts.at_C.tolist()), cuts.period, 0, 0)
        for name, ds in (("base", "2020-01-07"), ("night", "2020-01-08"))
    )
    files = [DataFile(f"events/{name}", {}, 10, 0) for s in (base, night) for name in s.files]
    sums = IncrementalAggregates(tmp_path, 4, True, (base, night))
    assert sums.fitting(plan, files) == sums and sums.beside(files) == []
    new = DataFile("events/ds=2020-01-08/other", {}, 10, 0)
    assert sums.fitting(plan, [files[0], new]).snapshots == (base,)
    assert sums.fitting(plan, [files[0], new]).beside([files[0], new]) == [new]
    assert sums.fitting(plan, [new, files[1]]).snapshots == ()  # no night without its base
    assert sums.fitting(replace(plan, timed=False), files).snapshots == ()
    damaged = replace(sums, snapshots=(replace(base, bytes=1), night))
    assert damaged.fitting(plan, files).snapshots == ()
    assert sums.fitting(replace(plan, half_life_days=3.1), files).snapshots == ()
    assert sums.fitting(replace(plan, instants=(date(2020, 1, 1), instants[1])), files).snapshots == ()
    assert sums.fitting(replace(plan, parts=9), files).snapshots == ()
    assert sums.fitting(replace(plan, parts=8), files).extended(plan, 0).parts == 4
    earlier = sums.fitting(replace(plan, ds=date(2020, 1, 7)), files[:1])
    assert earlier.snapshots == (base,) and not earlier.last
    assert not earlier.extended(plan, 1000).compacting and sums.extended(plan, 1000).compacting


def test_a_part_that_a_new_hub_fills_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roilake.pipelines.retrieval.graph.incremental._PART_BYTES", 1000)
    plan = Plan(tmp_path, date(2020, 1, 8), (date(2020, 1, 9),), 3.0, 10, {}, parts=4, timed=False, first=0)
    plan = replace(plan, snapshots=(Runs(tmp_path / "earlier", {}, plan.own.cuts),))

    def spill(folder: Path, sizes: list[int]) -> None:
        offsets = np.cumsum([0, *sizes])
        write_parts(folder / "user_item" / "run", np.zeros(offsets[-1], np.uint8), offsets)

    spill(tmp_path / "earlier", [900] * 4)
    spill(plan.own.folder, [100] * 4)
    check_parts(plan)
    spill(plan.own.folder, [0, 0, 4000, 0])
    with pytest.raises(StaleSumsError, match="part 2 of user_item has grown too large"):
        check_parts(plan)
    check_parts(replace(plan, snapshots=()))  # nothing that could be made anew


def test_an_index_that_cannot_be_read_keeps_nothing(lake: Lake, make_run: Callable[..., Run]) -> None:
    assert IncrementalAggregates.of(lake).snapshots == () and not lake.folder.exists()
    none = TABLES_BY_NAME["events"].arrow_schema.empty_table()
    lake.write("events", none, where={"ds": FIRST}, run=make_run(FIRST))
    assert IncrementalAggregates.of(lake).snapshots == ()
    for text in ("{", '{"format": 0, "snapshots": [{}]}'):
        (lake.lasting("graph_sums") / "snapshots.json").write_text(text)
        assert IncrementalAggregates.of(lake).snapshots == ()
