"""The command line, the schedule and the dictionary follow from the declarations."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roilake.cli import app
from roilake.runtime.pipeline import load
from roilake.runtime.registry import load_config, owner, pipelines, tables

ROOT = Path(__file__).parents[2]
CONF = sorted((ROOT / "conf" / "nights").glob("*/*.yaml"))


def test_declarations_are_light() -> None:
    """Readers and the command line load them: no pyspark, no torch."""
    code = (
        "import sys; from roilake.runtime.registry import tables; import roilake.cli, roilake.reading; tables();"
        "print([m for m in ('pyspark', 'torch', 'scipy', 'petastorm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", pipelines())
def test_every_step_is_a_module_and_every_reference_leads_somewhere(name: str) -> None:
    pipeline = pipelines()[name]
    for step in pipeline.step_names:
        assert callable(load(f"{pipeline.module(step)}:run"))
    references = (pipeline.filled, pipeline.checks, pipeline.volume, pipeline.estimate, *pipeline.sections)
    assert all(callable(load(reference)) for reference in references if reference)


def test_what_steps_read_and_write_is_defined() -> None:
    for pipeline in pipelines().values():
        foreign = {f"{upstream.pipeline}.{upstream.table}" for upstream in pipeline.upstreams}
        for step in pipeline.steps:
            assert set(step.writes) <= set(tables()) and set(step.reads) <= {*tables(), *foreign}, step
        assert owner(pipeline.served) is pipeline and owner(pipeline.source) is pipeline
        assert all(upstream.table in tables() for upstream in pipeline.upstreams)


@pytest.mark.parametrize("path", CONF, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_config_in_the_tree_is_sound(path: Path) -> None:
    assert load_config(path).pipeline == path.parent.name


@pytest.mark.parametrize("form", ["json", "airflow", "cron"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_schedule_is_one_night_or_its_steps_in_their_order(form: str, apart: bool, tmp_path: Path) -> None:
    conf = ROOT / "conf" / "nights" / "retrieval" / "movielens.yaml"
    arguments = ["schedule", "--conf", str(conf), "--lake", str(tmp_path / "100%"), "--format", form]
    done = CliRunner().invoke(app, [*arguments, *(["--steps"] if apart else [])])
    assert done.exit_code == 0, done.stderr
    steps = pipelines()["retrieval"].step_names if apart else ("night",)
    modules = [f"-m jobs.retrieval.{step} --ds " for step in steps] if apart else ["-m roilake night --ds "]
    found = [done.stdout.index(module) for module in modules]
    assert found == sorted(found) and done.stdout.count(" -m ") == len(steps)
    if form == "json":
        assert [task["task"] for task in json.loads(done.stdout)["tasks"]] == list(steps)
    elif form == "airflow":
        ast.parse(done.stdout)
        assert done.stdout.count("--ds {{ ds }}") == len(steps)
    else:
        assert '--ds "$(date -u -d yesterday +\\%F)" --conf' in done.stdout and "100\\%" in done.stdout


def test_pipelines_are_listed_with_steps_tables_and_upstreams() -> None:
    shown = CliRunner().invoke(app, ["pipelines"]).stdout
    found = json.loads(CliRunner().invoke(app, ["pipelines", "--json"]).stdout)
    assert [pipeline["name"] for pipeline in found] == list(pipelines())
    for pipeline in pipelines().values():
        assert " ".join(pipeline.step_names) in shown and pipeline.title in shown
        assert all(table.name in shown for table in pipeline.tables)
        assert all(f"{upstream.pipeline}.{upstream.table}" in shown for upstream in pipeline.upstreams)


def test_no_core_room_knows_a_pipeline() -> None:
    """Imports point one way, and no core file names a pipeline."""
    rooms = ("lake", "runtime", "config", "ingest", "feed", "training", "metrics", "report", "estimate")
    for path in (path for room in rooms for path in (ROOT / "libs" / "roilake" / room).rglob("*.py")):
        text = path.read_text()
        imported = [node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
        assert not [m for m in imported if m.startswith("roilake.pipelines.")], path
        assert not [name for name in pipelines() if f'"{name}"' in text or f"pipelines.{name}" in text], path


def test_pipelines_do_not_import_one_another() -> None:
    for name in pipelines():
        for path in (ROOT / "libs" / "roilake" / "pipelines" / name).rglob("*.py"):
            others = [other for other in pipelines() if other != name]
            assert not [other for other in others if f"roilake.pipelines.{other}" in path.read_text()], path
