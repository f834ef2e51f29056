"""``roilake report``, ``runs`` and ``compare`` on a lake of two nights, without Spark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roilake.cli import app
from roilake.report import gather, published
from tests.report.small_lake import FIRST, SECOND, a_run, publish, step, write, write_lake, write_night

JUDGED = "on validation it has NDCG @20 0.500, and popularity is behind by 0.100 (0.050 to 0.150)."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that the tests only read."""
    folder = tmp_path_factory.mktemp("nights") / "lake"
    write_lake(folder)
    return folder


def call(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--lake", str(folder)])
    assert (done.exit_code, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_night_is_read_as_it_was_published(folder: Path) -> None:
    lake = write_lake(folder.parent / "other")
    found = gather(lake, published(lake, None, SECOND), since=FIRST)
    night = found.night
    assert (found.before and found.before.ds, found.since) == (FIRST, None)  # the last night is shown once
    assert night.rows == {
        "champions": 1, "events": 2, "metrics": 2, "node_ids": 2, "nodes": 4, "quarantine": 1, "rois": 3, "runs": 6,
    }  # fmt: skip
    assert (night.own.new, night.own.nodes) == ({"item": 1, "user": 1}, {"item": 2, "user": 2})
    assert night.own.nulls == {"query": 1}
    assert night.own.rois == {("item", "serve"): 1, ("request", "serve"): 1, ("request", "test"): 1}
    assert night.quarantine == ({"step": "ingest_events", "reason": "no time", "rows": 1, "examples": ['{"n":0}']},)
    assert [run["step"] for run in night.runs] == sorted(run["step"] for run in night.runs)
    assert night.run("publish_night") is None


def test_report_writes_the_page_again_and_prints_its_path(folder: Path) -> None:
    path = Path(call(folder, "report", "--ds", str(SECOND)).strip())
    assert path == folder / "reports" / "retrieval" / f"{SECOND}.html"
    page = path.read_text()
    assert "Since 2020-01-09, zoomer got better in AUC (+0.100)." in page
    assert f"zoomer serves since 2020-01-09: no other model won over it; {JUDGED}" in page
    assert "2 events came in (4 on 2020-01-09), with 1 new user and 1 new item; 1 row rejected." in page
    beside = Path(call(folder, "report", "--ds", str(SECOND), "--since", str(FIRST)).strip())
    assert beside.name == "2020-01-10-since-2020-01-09.html"
    assert path.read_text() == page


def test_commands_start_no_jvm(folder: Path) -> None:
    code = (
        "import sys; from pyspark import SparkContext; from roilake.cli import app; sys.argv = sys.argv[1:];"
        "app(standalone_mode=False); assert SparkContext._gateway is None"
    )
    arguments = ["roilake", "report", "--ds", str(FIRST), "--lake", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_runs_lists_nights_and_the_steps_of_one(folder: Path) -> None:
    text = call(folder, "runs")
    assert [line.split()[:5] for line in text.splitlines() if "2020-" in line] == [
        ["2020-01-09", "retrieval", "run0109abc", "succeeded", "yes"],
        ["2020-01-10", "retrieval", "run0110abc", "succeeded", "yes"],
    ]
    nights = json.loads(call(folder, "runs", "--json"))
    assert nights[1] == {
        "pipeline": "retrieval", "ds": "2020-01-10", "run_id": "run0110abc", "status": "succeeded",
        "published": "run0110abc", "steps": 6, "seconds": 22.5, "rows_out": 60, "rows_quarantined": 0,
        "rows_later": 0, "bytes": 6000,
    }  # fmt: skip
    assert [night["ds"] for night in json.loads(call(folder, "runs", "--last", "1", "--json"))] == [str(SECOND)]
    steps = json.loads(call(folder, "runs", "--ds", str(FIRST), "--json"))
    assert [row["step"] for row in steps] == [
        "ingest_events", "build_graph", "build_rois", "train_models", "evaluate_models", "publish_night",
    ]  # fmt: skip
    assert steps[1]["outputs"] == {"build_graph": 1}
    text = call(folder, "runs", "--ds", str(FIRST))
    assert "Night of 2020-01-09, run run0109abc" in text
    assert " ".join(text.split()).endswith(f"zoomer serves since 2020-01-09, a first night; {JUDGED}")


def test_a_failed_rerun_and_a_night_cut_short_are_told_apart(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    rerun, cut = (a_run(f"late{ds.day}", "retrieval", ds) for ds in (SECOND, SECOND.replace(day=11)))
    write(lake, rerun, "runs", [step(rerun, "publish_night", 1, "failed")])
    write(lake, cut, "runs", [step(cut, "ingest_events", 1)])
    nights = json.loads(call(tmp_path / "lake", "runs", "--json"))
    found = [(night["run_id"], night["status"], night["published"]) for night in nights]
    assert found == [
        ("run0109abc", "succeeded", "run0109abc"), ("late10", "failed", "run0110abc"), ("late11", "incomplete", None),
    ]  # fmt: skip


def test_compare_names_what_differs(folder: Path) -> None:
    text = call(folder, "compare", str(FIRST), "run0110")
    assert "config: training.epochs: 3 → 1" in text
    assert "code: the same, 0123456789ab" in text and "serves: zoomer, since 2020-01-09\n" in text
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines() if "AUC" in line}
    assert rows["zoomer", "AUC"] == ["0.700", "0.800", "+0.100", "+0.086", "to", "+0.114", "better"]
    assert rows["popularity", "AUC"][-2:] == ["within", "noise"]
    found = json.loads(call(folder, "compare", "run0109abc", str(SECOND), "--json"))
    assert found["config"] == {"training.epochs": [3, 1]}
    assert found["rows"]["events"] == [4, 2]
    assert found["seconds"]["build_rois"] == [3.0, 3.0]
    assert found["metrics"][0]["difference"] == pytest.approx(0.1)


def test_a_run_is_held_against_the_one_that_replaced_it(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    write_night(lake, SECOND, auc=0.9, events=2, rejected=1, epochs=5, run_id="rerun0110")
    found = json.loads(call(tmp_path / "lake", "compare", "run0110abc", "rerun", "--json"))
    assert [run["run_id"] for run in found["runs"]] == ["run0110abc", "rerun0110"]
    assert found["config"] == {"training.epochs": [1, 5]}
    assert found["metrics"][0]["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "--ds", "2020-02-01"), "night 2020-02-01 is not published; the nearest are 2020-01-09, 2020-01-10"),
        (("report", "--ds", "2020-01-10", "--since", "2019-01-01"), "night 2019-01-01 is not published"),
        (("report", "--ds", "yesterday"), "--ds 'yesterday': is no date; write YYYY-MM-DD"),
        (("runs", "--ds", "2020-02-01"), "no night 2020-02-01 has run; the nearest are 2020-01-09, 2020-01-10"),
        (("compare", "2020-01-09", "zzzz"), "'zzzz' is no published run; there are 2020-01-09 (run0109abc), 2020-"),
        (("compare", "2020-01-08", "2020-01-09"), "'2020-01-08' is no published run; the nearest are 2020-01-09, "),
        (("compare", "run0", "2020-01-09"), "'run0' names several published runs; there are 2020-01-09 (run0109abc)"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line_with_what_is(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, [*arguments, "--lake", str(folder)])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_a_lake_without_nights(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["runs", "--lake", str(tmp_path / "none")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no lake here" in done.stderr


def test_a_secret_that_an_older_version_published_is_shown_nowhere(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    run = a_run("secret", "retrieval", SECOND)
    source = {"events": {"path": "s3a://KEY:SECRET@bucket/x", "options": {"fs.s3a.secret.key": "SECRET"}}}
    publish(lake, run, {}, {"default_model": "zoomer", "source": source})
    for arguments in (("compare", str(FIRST), str(SECOND)), ("compare", str(FIRST), str(SECOND), "--json")):
        shown = call(tmp_path / "lake", *arguments)
        assert "s3a://***@bucket/x" in shown and "SECRET" not in shown
