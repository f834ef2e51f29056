"""What a night is said to cost before it runs. Without Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from roilake.cli import app
from roilake.errors import ConfigError, SourceError
from roilake.estimate import Measured, PlannedStep
from roilake.lake import TABLES, Lake, Run
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.estimate import plan_night
from roilake.pipelines.retrieval.estimate.past import STEPS, Past, defaults
from roilake.pipelines.retrieval.estimate.volumes import Events
from roilake.runtime.step import recorded
from tests.benchmarks.room import check_room

FIRST = date(2020, 1, 10)
NIGHT = FIRST + timedelta(1)
MakeNight = Callable[..., RetrievalConfig]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten events a day for ten days, ingested on the last one."""
    lake = Lake(None, tmp_path / "lake")
    write(lake, FIRST, "events", [event(FIRST, day, n) for day in range(10) for n in range(10)])
    return lake


def write(lake: Lake, ds: date, table: str, rows: list[dict[str, Any]], **where: object) -> None:
    held = pa.Table.from_pylist([{"ds": ds, **row} for row in rows], schema=TABLES[table].arrow_schema)
    run = Run("run", "retrieval", ds, "test", "digest", "revision")
    lake.write(table, held, where={"ds": ds, **where}, run=run)


def event(last: date, days_before: int, n: int) -> dict[str, Any]:
    time = datetime(last.year, last.month, last.day, 1 + n, tzinfo=UTC) - timedelta(days_before)
    keys = {"user": "u", "item": "i", "event_type": "click", "session": "s"}
    return {"event_id": f"{days_before}-{n}", "time": time, "value": 1.0, **keys}


def ran(lake: Lake, ds: date, job: str, rows: int, seconds: float, size: int = 0, **details: object) -> None:
    row = {
        "run_id": "run", "step": job, "upstreams": "{}", "rows_later": 0,
        "status": "succeeded", "inputs": "{}", "outputs": "{}", "rows_in": rows,
        "rows_out": rows, "rows_quarantined": 0, "seconds": seconds, "bytes": size, "config_hash": "digest",
        "details": json.dumps(details),
    }  # fmt: skip
    write(lake, ds, "runs", [row], step=job)


def planned(lake: Lake, config: RetrievalConfig, ds: date, job: str) -> PlannedStep:
    return next(step for step in plan_night(lake, config, ds).steps if step.step == job)


def test_a_rate_follows_the_runs_of_the_lake() -> None:
    rate = replace(defaults().steps["build_requests"], fixed=2.0, each=1e-4, memory_fixed=1e9, memory_each=10)
    mostly_fixed = rate.fitted([Measured(1e3, 5.1, 5e3, 2e9)])
    assert (mostly_fixed.fixed, mostly_fixed.each, mostly_fixed.bytes) == (pytest.approx(5), 1e-4, 5)
    assert (mostly_fixed.memory_fixed, mostly_fixed.memory_each) == (2e9 - 1e4, 10)
    mostly_work = rate.fitted([Measured(1e6, 302, 0)])
    assert (mostly_work.fixed, mostly_work.each) == (2, pytest.approx(3e-4))
    assert mostly_work.memory(1e6) == rate.memory(1e6), "the run did not tell"
    faster = rate.fitted([Measured(1e6, 1.0, 0)])
    assert faster.seconds(1e6) == pytest.approx(1) and faster.fixed > 0
    line = rate.fitted([Measured(w, 3 + w / 1000, w) for w in (1e3, 4e3, 1e4)])
    assert (line.fixed, line.each) == (pytest.approx(3), pytest.approx(1e-3))
    falling = rate.fitted([Measured(1e3, 9, 0), Measured(1e5, 3, 0)])
    assert falling.fixed > 0 and falling.each > 0


def test_a_first_night_tells_nothing_of_jobs_that_build_on_it(lake: Lake, make_night: MakeNight) -> None:
    ran(lake, FIRST, "embed_interests", rows=300, seconds=1000.0, source="graph")
    config, events = make_night(""), Events(lake, make_night("").source.events)
    fitted, carried = (
        Past.read(lake, events, config, NIGHT, later).rates["embed_interests"] for later in ([], ["embed_interests"])
    )
    assert fitted.seconds(450) == pytest.approx(1000, rel=0.01) and "1 earlier night" in fitted.origin
    assert carried == defaults().steps["carry_interests"]
    ran(lake, FIRST, "build_graph", rows=100, seconds=1000.0, new_events=100)
    ran(lake, FIRST - timedelta(1), "build_graph", rows=90, seconds=10.0, new_events=9)
    for later, seconds in ([], 1000), (["build_graph"], 10):
        rate = Past.read(lake, events, config, NIGHT, later).rates["build_graph"]
        assert rate.seconds(450) == pytest.approx(seconds, rel=0.01), later


def test_times_of_events_come_from_a_sample_and_the_next_night_from_the_last_weeks(
    lake: Lake, make_night: MakeNight
) -> None:
    events = Events(lake, make_night("").source.events)
    known = events.until(FIRST, FIRST)
    assert (known.events, known.known) == (100, True)
    assert known.before(FIRST) == 90 and known.between(date(2020, 1, 2), date(2020, 1, 4)) == 20
    guessed = events.until(NIGHT, FIRST)
    assert not guessed.known and guessed.new == pytest.approx(100 / 28)
    assert guessed.events == pytest.approx(100 + 100 / 28)


def test_a_source_that_is_not_ingested_counts_by_its_bytes(tmp_path: Path, make_night: MakeNight) -> None:
    config = make_night("u,i,q,2020-01-01\n" * 5000)
    found = plan_night(Lake(None, tmp_path / "none"), config, FIRST)
    assert found.events == pytest.approx(5000, rel=0.01) and not found.events_known
    assert not (tmp_path / "none").exists()
    (tmp_path / "events.csv").unlink()
    with pytest.raises(SourceError, match=r"events.csv: no such file"):
        plan_night(Lake(None, tmp_path / "none"), config, FIRST)


def test_work_grows_with_windows_models_and_epochs(lake: Lake, make_night: MakeNight) -> None:
    small = make_night("")
    graph = planned(lake, small, FIRST, "build_graph")
    assert (graph.rows, graph.work) == (100, 100 + 90 + 80 + 70 + 60 + 50)
    more = make_night("", models={name: {"kind": "zoomer"} for name in ("zoomer", "b")}, training={"epochs": 6})
    assert planned(lake, small, FIRST, "train_models").work * 4 == planned(lake, more, FIRST, "train_models").work


def test_a_night_is_planned_from_the_runs_before_it(lake: Lake, make_night: MakeNight) -> None:
    config = make_night("")
    before = planned(lake, config, NIGHT, "build_requests")
    assert "defaults" in before.origin
    ran(lake, FIRST, "build_requests", rows=50, seconds=100.0, size=5000)
    after = planned(lake, config, NIGHT, "build_requests")
    assert after.origin == "1 earlier night of this lake"
    assert after.seconds == pytest.approx(100, rel=0.01) and after.bytes == pytest.approx(100 * after.rows, rel=0.02)


def test_bytes_of_histories_grow_with_the_events_of_their_night(lake: Lake, make_night: MakeNight) -> None:
    config = make_night("")
    rate = Past.read(lake, Events(lake, config.source.events), config, FIRST, []).rates["build_graph"]
    first = planned(lake, config, FIRST, "build_graph")
    assert first.bytes == round(rate.bytes * first.work + 100 * defaults().history_bytes)
    times = [datetime(2020, 1, 1 + n // 10, 1 + n % 10, tzinfo=UTC) for n in range(100)]
    write(lake, FIRST, "histories", [{"user": 0, "time": time, "item": 0, "query": -1} for time in times])
    size = sum(file.bytes for file in lake.active_files("histories"))
    ran(lake, FIRST, "build_graph", rows=100, seconds=9.0, size=size + 3 * 100)  # of one instant
    after = planned(lake, config, NIGHT, "build_graph")
    assert after.bytes == pytest.approx(3 * after.work + size * 100 / 28 / 100, abs=1)


def test_the_disk_is_highest_while_a_job_spills(lake: Lake, make_night: MakeNight) -> None:
    found = {step.step: step for step in plan_night(lake, make_night(""), FIRST).steps}
    graph = found["build_graph"]
    assert graph.disk > found["ingest_events"].bytes + graph.bytes
    assert found["build_requests"].disk < graph.disk + found["build_requests"].bytes


@pytest.mark.parametrize(("store_bytes", "plan"), [(1_000, "local"), (10**15, "shuffled")])
def test_the_plan_for_regions_is_told_with_its_reason(
    lake: Lake, make_night: MakeNight, store_bytes: int, plan: str
) -> None:
    ran(lake, FIRST, "build_rois", rows=50, seconds=1.0, store_bytes=store_bytes)
    assert plan_night(lake, make_night(""), NIGHT).roi.plan == plan
    assert plan_night(lake, make_night("", roi={"plan": "local"}), NIGHT).roi.why.startswith(
        "local plan, as configured"
    )


def test_the_row_of_a_run_holds_what_was_planned(lake: Lake, make_night: MakeNight) -> None:
    config = make_night("")
    meant = planned(lake, config, FIRST, "build_requests")
    with recorded(lake, config, FIRST, "build_requests") as record:
        held = np.ones(30_000_000)
    details = record.result.details
    peak = details["peak_memory"]
    assert held.nbytes < peak < psutil.virtual_memory().total
    assert details == {
        "planned_rows": meant.rows, "planned_seconds": meant.seconds, "planned_bytes": meant.bytes,
        "planned_memory": meant.memory, "planned_disk": meant.disk, "peak_memory": peak,
    }  # fmt: skip


def test_more_edges_than_fit_are_refused_with_the_estimate(tmp_path: Path) -> None:
    check_room(1_000_000, tmp_path / "not there yet")
    with pytest.raises(ConfigError, match=r"--edges 1e\+13: needs about .* GB of disk .* add --force"):
        check_room(10**13, tmp_path)


def test_the_command_prints_a_table_or_json(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    arguments = ["estimate", "--conf", "conf/nights/retrieval/movielens.yaml", "--ds", str(FIRST), "--lake", lake.path]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "build_graph" in done.stdout and "Regions of interest: local" in done.stdout
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [step["step"] for step in found["steps"]] == list(STEPS)
    work = sum(step["seconds"] for step in found["steps"])
    assert found["seconds"] == pytest.approx(found["start"] + work, abs=0.1)
    assert found["seconds_apart"] == pytest.approx(len(STEPS) * found["start"] + work, abs=0.1)
