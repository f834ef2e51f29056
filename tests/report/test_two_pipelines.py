"""A lake in which two pipelines published the same date: each has its own page, rows and history."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from roilake import read
from roilake.cli import app
from roilake.errors import LakeError
from roilake.lake import Lake
from roilake.pipelines.conversion.report.sections import traffic
from roilake.report import compare, gather, nights, nights_table, published, report_path, run_rows, write_page
from roilake.report.page import render
from tests.report.small_lake import FIRST, SECOND, write_conversion, write_lake, write_night

THIRD = date(2020, 1, 11)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Both published the second date, conversion alone the third, without a night of retrieval that it could read."""
    lake = write_lake(tmp_path_factory.mktemp("two") / "lake")
    read_by = {"ds": str(SECOND), "run_id": "run0110abc", "tables": {"models": 7}}
    write_conversion(lake, SECOND, read_by)
    write_conversion(lake, THIRD, None)
    for pipeline in ("retrieval", "conversion"):
        write_page(gather(lake, published(lake, pipeline, SECOND)), report_path(lake, pipeline, SECOND))
    return lake


def call(lake: Lake, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments, "--lake", str(lake.folder)])
    assert done.exit_code == code, (done.stderr, done.exception)
    return done.stdout if code == 0 else done.stderr


def test_both_have_pages_at_their_own_paths(lake: Lake) -> None:
    pages = {p: report_path(lake, p, SECOND).read_text() for p in ("retrieval", "conversion")}
    assert report_path(lake, "conversion", SECOND) == lake.folder / "reports" / "conversion" / "2020-01-10.html"
    assert "2 events came in (4 on 2020-01-09), with 1 new user and 1 new item" in pages["retrieval"]
    assert "4 impressions looked at, with 2 clicks and 1 conversion; no row rejected, 3 later" in pages["conversion"]
    assert "scores by 2 models are ready" in pages["conversion"] and "by zoomer are ready" in pages["retrieval"]
    assert "Events and graph" not in pages["conversion"] and "Impressions" not in pages["retrieval"]
    assert "There is no earlier published night" in pages["conversion"]  # that of retrieval is not its own
    assert "new user nodes" in pages["retrieval"] and "clicks, train" in pages["conversion"]
    text = report_path(lake, "conversion", SECOND).with_suffix(".txt").read_text()
    assert "conversion, night of 2020-01-10, run cvr0110abc" in text and "0.750 ±0.010" in text


def test_the_page_says_which_upstream_was_read(lake: Lake) -> None:
    page = report_path(lake, "conversion", SECOND).read_text()
    row = page[page.index("Other pipelines") :]
    assert all(word in row for word in ("retrieval", "2020-01-10", "run0110abc", "models", "7", "vectors of users"))
    missing = render(gather(lake, published(lake, None, THIRD)))
    assert "missing: none is published, so the night went on without" in missing
    assert "not used: the config does not ask for it" in report_path(lake, "retrieval", SECOND).read_text()


def test_counts_are_those_of_the_pipeline(lake: Lake) -> None:
    nights = {p: gather(lake, published(lake, p, SECOND)).night for p in ("retrieval", "conversion")}
    assert {p: night.rows["metrics"] for p, night in nights.items()} == {"retrieval": 2, "conversion": 2}
    assert {p: night.rows["node_ids"] for p, night in nights.items()} == {"retrieval": 2, "conversion": 1}
    assert nights["retrieval"].own.new == {"item": 1, "user": 1}
    assert nights["retrieval"].models == {"zoomer", "popularity"} and nights["conversion"].models == {"ukd", "base"}
    assert traffic(nights["conversion"].own, "train") == (4, 2, 1)
    assert gather(lake, published(lake, "retrieval", SECOND)).before.ds == FIRST  # type: ignore[union-attr]


def test_new_nodes_are_those_that_the_pipeline_had_not_before_whoever_gave_their_ids(tmp_path: Path) -> None:
    lake = Lake(None, tmp_path / "lake")
    write_conversion(lake, FIRST)
    write_night(lake, SECOND, auc=0.7, events=4, rejected=0, epochs=1)
    data = gather(lake, published(lake, "retrieval", SECOND))
    assert data.night.rows["node_ids"] == 2 and data.night.own.new == data.night.own.nodes == {"item": 2, "user": 2}
    assert "4 events came in, with 2 new users and 2 new items" in render(data)


def test_runs_lists_both(lake: Lake) -> None:
    found = json.loads(call(lake, "runs", "--json"))
    expected = [(str(FIRST), "retrieval"), (str(SECOND), "conversion"), (str(SECOND), "retrieval")]
    assert [(night["ds"], night["pipeline"]) for night in found] == [*expected, (str(THIRD), "conversion")]
    assert {night["published"] for night in found} == {"run0109abc", "cvr0110abc", "run0110abc", "cvr0111abc"}
    assert [night["rows_later"] for night in found] == [0, 3, 0, 3]
    own = json.loads(call(lake, "runs", "--json", "--pipeline", "conversion", "--last", "1"))
    assert [(night["ds"], night["steps"]) for night in own] == [(str(THIRD), 2)]
    text = call(lake, "runs")
    assert [line.split()[1] for line in text.splitlines() if "2020-" in line] == [
        "retrieval", "conversion", "retrieval", "conversion",
    ]  # fmt: skip
    steps = json.loads(call(lake, "runs", "--ds", str(SECOND), "--json"))
    assert [step["step"] for step in steps[:3]] == ["build_impressions", "publish_night", "ingest_events"]
    text = call(lake, "runs", "--ds", str(SECOND))
    assert "run cvr0110abc of conversion" in text and "run run0110abc of retrieval" in text
    assert "no pipeline 'serving'; there are retrieval, conversion" in call(
        lake, "runs", "--pipeline", "serving", code=2
    )
    assert "no night 2020-01-09 of conversion has run; the nearest are 2020-01-10, 2020-01-11" in call(
        lake, "runs", "--pipeline", "conversion", "--ds", str(FIRST), code=2
    )


def test_a_date_of_several_pipelines_needs_one_named(lake: Lake) -> None:
    several = f"{SECOND} was published by conversion, retrieval; say which one by --pipeline"
    assert several in call(lake, "report", "--ds", str(SECOND), code=2)
    assert several in call(lake, "compare", str(FIRST), str(SECOND), code=2)
    path = Path(call(lake, "report", "--ds", str(SECOND), "--pipeline", "conversion").strip())
    assert path == report_path(lake, "conversion", SECOND)
    assert call(lake, "report", "--ds", str(THIRD)).strip().endswith("conversion/2020-01-11.html")
    found = compare(lake, str(FIRST), str(SECOND), "retrieval")
    assert (found.before.run_id, found.after.run_id) == ("run0109abc", "run0110abc")
    assert compare(lake, "cvr0110abc", str(THIRD)).after.pipeline.name == "conversion"
    with pytest.raises(LakeError, match="'2020-01-09' of retrieval and '2020-01-11' of conversion: only runs of one"):
        compare(lake, str(FIRST), str(THIRD))


def test_readers_are_narrowed(lake: Lake) -> None:
    folder = lake.folder
    assert set(read("metrics", lake=folder)["model"]) == {"zoomer", "popularity", "ukd", "base"}
    assert set(read("metrics", lake=folder, pipeline="conversion")["model"]) == {"ukd", "base"}
    assert len(read("cvr_scores", lake=folder)) == 2 and len(read("events", lake=folder)) == 6


def test_the_commands_fit_80_columns(lake: Lake) -> None:
    for arguments in (
        ("runs",),
        ("runs", "--ds", str(SECOND)),
        ("compare", str(FIRST), str(SECOND), "--pipeline", "retrieval"),
    ):
        text = call(lake, *arguments)
        assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80


def test_a_table_is_never_cut(lake: Lake) -> None:
    console = Console(file=io.StringIO(), width=80)
    found = nights(run_rows(lake), lake.publications())
    wide = [{**night, "run_id": "3f9c1e77a2b4", "seconds": 7265.0, "rows_out": 123_456_789} for night in found]
    console.print(nights_table(wide))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and "3f9c1e77a2b4" in text and "123\u202f456\u202f789" in text
