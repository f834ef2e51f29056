"""A pipeline without an estimate of its own is planned from its earlier nights in the lake. Without Spark."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from roilake.cli import app
from roilake.estimate import estimate_night
from roilake.lake import TABLES, Lake, Run
from roilake.runtime import start
from roilake.runtime.registry import find, load_config
from roilake.runtime.step import recorded

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "nights" / "conversion" / "generated.yaml"
FIRST = date(1998, 3, 28)


def ran(lake: Lake, pipeline: str, ds: date, step: str, rows: int, seconds: float, **details: float) -> None:
    row = {
        "ds": ds, "run_id": "r", "step": step, "status": "succeeded", "inputs": "{}", "outputs": "{}",
        "upstreams": "{}", "rows_in": rows, "rows_out": rows, "rows_quarantined": 0, "rows_later": 0,
        "seconds": seconds,
        "bytes": 10 * rows, "config_hash": "c", "details": json.dumps({"peak_memory": 2e9, **details}),
    }  # fmt: skip
    held = pa.Table.from_pylist([row], schema=TABLES["runs"].arrow_schema)
    lake.write("runs", held, where={"ds": ds, "step": step}, run=Run("r", pipeline, ds, step, "c", "v"))


def test_steps_are_planned_at_the_rates_of_the_pipelines_own_nights(tmp_path: Path) -> None:
    lake, config = Lake(None, tmp_path / "lake"), load_config(CONF)
    ran(lake, "conversion", FIRST, "train_cvr", rows=1000, seconds=100.0)
    ran(lake, "retrieval", FIRST, "train_cvr", rows=10, seconds=1.0)  # another pipeline's tells nothing
    steps = {step.step: step for step in estimate_night(lake, config, FIRST + timedelta(1)).steps}
    assert list(steps) == list(find("conversion").step_names)
    known = steps["train_cvr"]
    assert (known.rows, known.bytes, known.origin) == (1000, 10_000, "1 earlier night of this lake")
    assert known.seconds == pytest.approx(100, rel=0.01) and known.memory == pytest.approx(2e9, rel=0.01)
    unknown = steps["score_conversions"]
    assert unknown.rows == 0 and unknown.origin.startswith("a guess")


def test_a_step_in_a_process_of_its_own_pays_the_start(tmp_path: Path) -> None:
    lake, config, ds = Lake(None, tmp_path / "lake"), load_config(CONF), FIRST + timedelta(1)
    ran(lake, "conversion", FIRST, "train_cvr", rows=1000, seconds=100.0)
    ran(lake, "conversion", FIRST, "score_conversions", rows=1000, seconds=42.0, start_seconds=12.0)
    night = estimate_night(lake, config, ds)
    steps = {step.step: step.seconds for step in night.steps}
    assert night.start == 12.0 and steps["score_conversions"] == pytest.approx(30, rel=0.01)
    assert night.seconds_apart - night.seconds == pytest.approx(12.0 * (len(steps) - 1))
    with start.of_this_process(), recorded(lake, config, ds, "train_cvr") as first:
        start.owe(5.0)  # the session, which the step asks for
    with recorded(lake, config, ds, "train_cvr") as later:
        pass
    assert (
        first.result.details["start_seconds"] > 5.0
        and first.result.seconds >= first.result.details["start_seconds"] - 5
    )
    assert first.result.details["planned_seconds"] == pytest.approx(12.0 + steps["train_cvr"], abs=0.1)
    assert "start_seconds" not in later.result.details
    assert later.result.details["planned_seconds"] == pytest.approx(steps["train_cvr"], abs=0.1)


def test_the_command_estimates_any_pipeline(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["estimate", "--conf", str(CONF), "--lake", str(tmp_path / "lake")])
    assert done.exit_code == 0 and "conversion night 1998-03-28" in done.stdout
    assert "Rates of all steps: a guess" in done.stdout and not (tmp_path / "lake").exists()
