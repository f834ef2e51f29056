"""The test of the house: a pipeline that lives under ``tests/`` runs, publishes, is read, compared, reported, estimated
and scheduled without a line changed in ``libs/``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from roilake import read
from roilake.cli import app
from roilake.config import NightConfig
from roilake.errors import AuditError, ConfigError, LakeError
from roilake.lake import TABLES, Lake, Publication, Run
from roilake.runtime.dictionary import markdown
from roilake.runtime.night import run_night
from roilake.runtime.pipeline import load
from roilake.runtime.registry import load_config, pipelines
from roilake.runtime.step import StepResult

ROOT = Path(__file__).parents[2]
DS = date(2020, 1, 10)
CSV = """name,time,x,y
a,2020-01-09 10:00:00,0,1
b,2020-01-09 11:00:00,1,3
c,2020-01-10 09:00:00,2,5
d,2020-01-10 23:59:59,3,7
a,2020-01-10 12:00:00,9,9
,2020-01-10 12:00:00,4,9
e,2020-01-11 00:00:00,5,11
"""


@dataclass(frozen=True)
class Toy:
    """A lake after two nights, without and with recommendations in it."""

    lake: Lake
    conf: Path
    config: NightConfig
    first: dict[str, StepResult]
    second: dict[str, StepResult]

    def call(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--lake", self.lake.path])
        assert done.exit_code == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def toy(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "points.csv").write_text(CSV)
    text = (ROOT / "tests" / "toy" / "night.yaml").read_text()
    (folder / "night.yaml").write_text(text.replace("points.csv", str(folder / "points.csv")))
    os.environ["ROILAKE_PIPELINES"] = "tests.toy"
    pipelines.cache_clear()
    config = load_config(folder / "night.yaml")
    lake = Lake.open(spark, folder / "lake", create=True)
    first = run_night(lake, config, DS)
    publish_recommendations(lake, DS + timedelta(1))
    publish_recommendations(lake, DS + timedelta(9))  # after the second night: must not be seen
    second = run_night(lake, config, DS + timedelta(1))
    by_step = ({result.step: result for result in results} for results in (first, second))
    yield Toy(lake, folder / "night.yaml", config, *by_step)
    del os.environ["ROILAKE_PIPELINES"]
    pipelines.cache_clear()


def publish_recommendations(lake: Lake, ds: date) -> None:
    """As the retrieval pipeline would: of each user as many as the day of the month."""
    run = Run(f"run-{ds}", "retrieval", ds, "score_requests", "c", "v")
    row = {"ds": ds, "user": "u", "query": None, "item": "i", "score": 1.0, "model": "m"}
    rows = pa.Table.from_pylist(
        [{**row, "rank": n} for n in range(ds.day)], schema=TABLES["recommendations"].arrow_schema
    )
    version = lake.write("recommendations", rows, where={"ds": ds}, run=run)
    config = json.dumps({"pipeline": "retrieval", "name": "r", "default_model": "m"})
    lake.publish(Publication("retrieval", ds, run.run_id, {"recommendations": version}, config, "v"), run)


def test_it_runs_and_every_row_is_accounted_for(toy: Toy) -> None:
    assert list(toy.first) == ["ingest_points", "fit_line", "publish_night"]
    ingested = toy.first["ingest_points"]
    counts = (ingested.rows_in, ingested.rows_out, ingested.rows_quarantined, ingested.rows_later)
    assert counts == (7, 4, 2, 1)
    assert toy.second["ingest_points"].rows_later == 0 and toy.second["ingest_points"].rows_out == 5


def test_it_trains_by_the_one_trainer(toy: Toy) -> None:
    models = read("models", lake=toy.lake.folder, pipeline="toy", ds=DS)
    manifest = json.loads(toy.lake.files.read_text(f"{models['path'][0]}/manifest.json"))
    assert manifest["slope"] == pytest.approx(2, abs=0.2) and manifest["intercept"] == pytest.approx(1, abs=0.4)


def test_it_is_read_without_spark(toy: Toy) -> None:
    points = read("points", lake=toy.lake.folder, ds=DS)
    assert sorted(points["name"]) == ["a", "b", "c", "d"] and list(points["x"].sort_values()) == [0, 1, 2, 3]
    assert len(read("point_predictions", lake=toy.lake.folder)) == 5
    metrics = read("metrics", lake=toy.lake.folder, pipeline="toy", ds="all")
    assert set(metrics["metric"]) == {"absolute_error"} and len(metrics) == 2 and metrics["value"].max() < 0.5
    rejected = read("quarantine", lake=toy.lake.folder, pipeline="toy", ds=DS)
    assert set(rejected["reason"]) == {"no name", "repeats a name"}


def test_its_upstream_is_read_as_of_the_nights_end_or_said_to_be_missing(toy: Toy) -> None:
    assert toy.first["fit_line"].details["recommendations"] is None
    assert toy.second["fit_line"].details["recommendations"] == 11
    first, second = toy.lake.publications("toy")
    assert first.upstreams == {"retrieval": None}
    assert second.upstreams["retrieval"]["ds"] == "2020-01-11"
    needy = toy.config.model_copy(update={"needs_recommendations": True})
    with pytest.raises(LakeError, match=r"needs a night of 'retrieval' up to 2020-01-10.*roilake night --conf"):
        run_night(toy.lake, needy, DS)


def test_its_page_has_its_section_and_says_what_was_read(toy: Toy) -> None:
    pages = [toy.lake.files.read_text(f"reports/toy/2020-01-{day}.html") for day in (10, 11)]
    assert all("A line was drawn through" in page and "Absolute error" in page for page in pages)
    assert "4 points came in" in pages[0] and "later than the night" in pages[0]
    assert "retrieval" in pages[0] and "run-2020-01-11" in pages[1]
    path = toy.call("report", "--ds", "2020-01-11", "--since", "2020-01-10", "--pipeline", "toy").strip()
    assert "A line was drawn through" in Path(path).read_text()


def test_commands_know_it(toy: Toy) -> None:
    conf = ("--conf", str(toy.conf))
    assert "ingest_points fit_line publish_night" in CliRunner().invoke(app, ["pipelines"]).stdout
    assert "roilake night --ds" in toy.call("schedule", *conf)
    assert "tests.toy.jobs.fit_line --ds" in toy.call("schedule", *conf, "--steps")
    estimate = json.loads(toy.call("estimate", *conf, "--ds", "2020-01-12", "--json"))
    assert [step["step"] for step in estimate["steps"]] == ["ingest_points", "fit_line", "publish_night"]
    assert estimate["steps"][0]["rows"] == 7 and "2 earlier nights" in estimate["steps"][0]["origin"]
    runs = json.loads(toy.call("runs", "--pipeline", "toy", "--json"))
    assert len(runs) == 2 and {night["status"] for night in runs} == {"succeeded"}
    compared = json.loads(toy.call("compare", "2020-01-10", "2020-01-11", "--pipeline", "toy", "--json"))
    assert [change["metric"] for change in compared["metrics"]] == ["absolute_error"]
    assert compared["rows"]["points"] == [4, 5]


def test_the_dictionary_tells_its_tables(toy: Toy) -> None:
    text = markdown()
    assert "## points" in text and "Written by `toy.ingest_points`. Read by `toy.fit_line`." in text


def test_its_gate_decides(toy: Toy) -> None:
    bound = {"metric": "absolute_error", "maximum": 1e-9}
    strict = type(toy.config).model_validate({**toy.config.model_dump(mode="json"), "gates": {"bounds": [bound]}})
    with pytest.raises(AuditError, match=r"absolute_error of line is .* at most 1e-09"):
        run_night(toy.lake, strict, DS + timedelta(2))
    last = toy.lake.publication("toy")
    assert last is not None and last.ds == DS + timedelta(1)


def test_a_step_run_again_blocks_nothing_or_the_message_says_what_to_run(toy: Toy) -> None:
    lake, ds = toy.lake, DS + timedelta(3)
    points = Path(toy.config.points.path)
    run_night(lake, toy.config, ds)
    version = lake.version("points")
    again = run_step(toy, "ingest_points", ds)
    assert again.outputs["points"] == version == lake.version("points") and again.rows_out == 5
    run_step(toy, "publish_night", ds)
    points.write_text(CSV.replace("b,2020-01-09 11:00:00,1,3", "b,2020-01-09 11:00:00,1,3.5"))
    run_step(toy, "ingest_points", ds)
    with pytest.raises(AuditError) as stale:
        run_step(toy, "publish_night", ds)
    message, tail = str(stale.value), f"--ds {ds} --conf {toy.conf} --lake {lake.path}"
    loop = f"for step in fit_line publish_night; do {sys.executable} -m tests.toy.jobs.$step {tail} || break; done"
    reads = f"fit_line: read points version {version}, not ingest_points's {version + 1}"
    assert f"{reads}; run again, in this order: {loop}, or" in message and "\n" not in message
    assert f"-m roilake night {tail} --from-step fit_line" in message
    results = run_night(lake, toy.config, ds, from_step="fit_line")
    assert [result.step for result in results] == ["fit_line", "publish_night"]
    points.write_text(CSV)


def test_a_night_goes_on_only_from_where_it_has_come_to(toy: Toy) -> None:
    with pytest.raises(ConfigError, match="--from-step 'fit': is no step of 'toy'; one of ingest_points, fit_line"):
        run_night(toy.lake, toy.config, DS, from_step="fit")
    with pytest.raises(LakeError, match="--from-step fit_line: ingest_points has not succeeded on 2020-02-01; start"):
        run_night(toy.lake, toy.config, date(2020, 2, 1), from_step="fit_line")


def run_step(toy: Toy, step: str, ds: date) -> StepResult:
    return load(f"tests.toy.jobs.{step}:run")(toy.lake, toy.config, ds)


def test_a_step_runs_by_its_module(toy: Toy) -> None:
    arguments = ("--conf", str(toy.conf), "--lake", toy.lake.path, "--log", "json", "--ds", "2020-02-30")
    done = subprocess.run(
        [sys.executable, "-m", "tests.toy.jobs.ingest_points", *arguments],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT}/libs:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr == "error: --ds '2020-02-30': is no date; write YYYY-MM-DD\n"
