"""Each event counts once, whatever is exported again, and whichever night sees it first; odd exports stop the night."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.retrieval import build_graph, ingest_events
from roilake.errors import AuditError, LakeError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig

Make = Callable[..., RetrievalConfig]
ITEMS = 4


def clicks(days: int, *, header: str = "user,item,query,time", row: str = "{user},{item},{query},{time}") -> str:
    """Six events a day of August 2026."""
    lines = [
        row.format(user=f"u{n}", item=f"i{n % ITEMS}", query="q", time=f"2026-08-{day:02d} 09:00:0{n}")
        for day in range(1, days + 1)
        for n in range(6)
    ]
    return "\n".join([header, *lines]) + "\n"


def ingest(lake: Lake, config: RetrievalConfig, day: int) -> int:
    """New events of that night."""
    return ingest_events.run(lake, config, date(2026, 8, day)).rows_out


def ids(lake: Lake) -> list[str]:
    found: pa.Table = lake.to_arrow("events", lake.version("events"), columns=["event_id"])
    return [str(each) for each in found["event_id"].to_pylist()]


def test_an_export_with_other_columns_counts_no_event_again(lake: Lake, make_night: Make) -> None:
    assert ingest(lake, make_night(clicks(3)), 2) == 12
    again = clicks(3, header="device,time,user,query,item", row="phone,{time},{user},{query},{item}")
    assert ingest(lake, make_night(again), 3) == 6
    assert len(ids(lake)) == len(set(ids(lake))) == 18


def test_an_earlier_night_runs_again_but_not_for_the_first_time(lake: Lake, make_night: Make) -> None:
    night = make_night(clicks(5), source={"later_budget": 1})
    assert (ingest(lake, night, 2), ingest(lake, night, 4)) == (12, 12)
    late = make_night(clicks(5) + "eve,i1,q,2026-08-01 08:00:00\n", source={"later_budget": 1})
    assert ingest(lake, late, 5) == 7  # six of the day, and one that came late
    assert ingest(lake, late, 2) == 12  # not the late one: another night has it
    with pytest.raises(LakeError, match="night 2026-08-05 holds the events of 2026-08-03 already, which was never run"):
        ingest(lake, late, 3)
    assert len(ids(lake)) == len(set(ids(lake))) == 31


def test_known_events_under_other_ids_stop_the_night(lake: Lake, make_night: Make) -> None:
    ingest(lake, make_night(clicks(2)), 2)
    problem = r"12 of 18 new events have time, user and item of events of other nights, but other ids"
    columns = {"user": "user", "item": "item", "time": "time", "session": "user"}
    night = make_night(clicks(3))
    changed = night.source.events.model_copy(update={"columns": type(night.source.events.columns)(**columns)})
    source = night.source.model_copy(update={"events": changed})
    with pytest.raises(AuditError, match=problem):
        ingest(lake, night.model_copy(update={"source": source}), 3)
    assert len(ids(lake)) == 12


def test_every_second_time_in_milliseconds_stops_the_night(lake: Lake, make_night: Make) -> None:
    rows = [f"u{n},i1,q,{1785542400 + n * (1000 if n % 2 else 1)}{'000' if n % 2 else ''}" for n in range(20)]
    night = make_night("user,item,query,time\n" + "\n".join(rows) + "\n")
    columns = night.source.events.columns.model_copy(update={"time": "timestamp_seconds(time)"})
    events = night.source.events.model_copy(update={"columns": columns})
    night = night.model_copy(update={"source": night.source.model_copy(update={"events": events})})
    with pytest.raises(AuditError, match=r"10 of 20 rows were rejected \(10 time is .*\(milliseconds for seconds"):
        ingest(lake, night, 30)
    assert not lake.exists("events")
    with pytest.raises(AuditError, match=r"24 of 30 rows are later than the night, above source.later_budget 0.5; are"):
        ingest(lake, make_night(clicks(5)), 1)


def items_of(folder: Path, text: str, **more: Any) -> dict[str, Any]:
    (folder / "items.csv").write_text(text)
    return {"items": {"path": f"{folder}/items.csv", "format": "csv", "key": "id", **more}}


def test_attributes_join_by_the_same_keys_and_are_counted(lake: Lake, make_night: Make, tmp_path: Path) -> None:
    text = 'id,brand,title\n" i0 ",a,"The ""Best"", ever"\ni1,,"two\nlines"\ni2,b,x\ni2,b,x\nold,b,x\n'
    source = items_of(tmp_path, text, fields={"brand": "brand"}, terms="title")
    night = make_night(clicks(3), source=source)
    ingest(lake, night, 3)
    result = build_graph.run(lake, night, date(2026, 8, 3))
    assert result.details["described"] == {"item": (3, ITEMS)}
    assert result.details["sources"]["items"] == {"rows": 5, "taken": 5, "rejected": {}, "later": 0, "left_out": {}}
    nodes = lake.to_arrow("nodes", lake.version("nodes"), filters={"node_type": "item"}).to_pylist()
    assert {row["key"]: (row["fields"], row["terms"]) for row in nodes} == {
        "i0": ([("brand", "a")], ["the", "best", "ever"]),
        "i1": ([("brand", None)], ["two", "lines"]),
        "i2": ([("brand", "b")], ["x"]),
        "i3": ([], []),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "id,brand\nx0,a\nx1,b\n",
            r"source\.items: describes 0 of 4 items of the events, below .*minimum_coverage 0\.5",
        ),
        ("id,brand\ni0,a\ni1\ni2,b\n", r"source\.items .*: 1 of 3 rows were rejected \(1 does not parse\)"),
    ],
)
def test_attributes_that_describe_nothing_stop_the_night(
    lake: Lake, make_night: Make, tmp_path: Path, text: str, problem: str
) -> None:
    night = make_night(clicks(3), source=items_of(tmp_path, text, fields={"brand": "brand"}))
    ingest(lake, night, 3)
    with pytest.raises(AuditError, match=problem):
        build_graph.run(lake, night, date(2026, 8, 3))
