"""What a person can mend is one line on stderr and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from roilake.cli import app
from roilake.lake import Lake

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf" / "nights" / "retrieval"
Tree = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(ROOT)
    found = yaml.safe_load((CONF / "movielens.yaml").read_text())
    return {**found, "gates": str(CONF / found["gates"])}


def write_arguments(folder: Path, tree: Tree, ds: str) -> list[str]:
    (folder / "night.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return ["--ds", ds, "--conf", f"{folder}/night.yaml", "--lake", f"{folder}/lake"]


def call(folder: Path, tree: Tree, ds: str = "1998-04-10") -> Outcome:
    """``roilake night`` on ``folder``/lake in this process: what it refuses before Spark starts."""
    done = CliRunner().invoke(app, ["night", *write_arguments(folder, tree, ds)])
    return Outcome(done.exit_code, done.stdout, done.stderr)


def start(command: Sequence[str], folder: Path, tree: Tree) -> Outcome:
    """The same in a process of its own."""
    arguments = [*command, *write_arguments(folder, tree, "1998-04-10")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    return Outcome(done.returncode, done.stdout, done.stderr)


def check_refused(outcome: Outcome, message: str, *, alone: bool = True) -> None:
    """``alone``: nothing else on stderr, where Spark may have its own say."""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code == 2 and outcome.out == ""
    assert len(errors) == 1 and message in errors[0], outcome.err
    assert "Traceback" not in outcome.err
    assert not alone or outcome.err.count("\n") == 1


def misspelt(tree: Tree) -> None:
    tree["windows"]["lenght"] = "7d"


def ill_typed(tree: Tree) -> None:
    tree["training"] = {"epochs": "three"}


def stray_kind(tree: Tree) -> None:
    tree["models"]["zoomer"]["kind"] = "zoom"


def stray_option(tree: Tree) -> None:
    tree["models"]["zoomer"]["options"] = {"heads": 8}


def stray_default(tree: Tree) -> None:
    tree["default_model"] = "better"


def no_choice(tree: Tree) -> None:
    tree["best_by"] = "coverage@20"


def taken(tree: Tree) -> None:
    tree["models"]["best"] = {"kind": "popularity"}


def stray_hop(tree: Tree) -> None:
    tree["roi"] = {"item_hops": [{"item_user": 2}, {"query_item": 1}]}


def no_edges(tree: Tree) -> None:
    tree["graph"] = {"edges": False}
    tree["evaluation"] = {"slices": {"linked": {"by": "edge_type"}}}


def no_vectors(tree: Tree) -> None:
    tree |= {"scoring": {"index": "ivf"}, "default_model": "popularity", "gates": {}}


def no_vectors_at_all(tree: Tree) -> None:
    tree |= {"scoring": {"index": "ivf"}, "models": {"popularity": {"kind": "popularity"}}, "gates": {}}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (misspelt, "night.yaml: unknown key 'windows.lenght': remove it or correct its spelling"),
        (ill_typed, "night.yaml: bad value 'training.epochs'"),
        (stray_kind, "night.yaml: models: unknown kind 'zoom': one of"),
        (stray_option, "night.yaml: models: zoomer: option 'heads'"),
        (stray_default, "night.yaml: default_model: 'better' is not among the models"),
        (stray_hop, "night.yaml: roi: hop 2 of the tree of item names 'query_item'"),
        (no_edges, "night.yaml: graph.edges: false, but evaluation.slices.linked read that table"),
        (no_vectors, "night.yaml: scoring.index: ivf needs item vectors, and popularity has none"),
        (no_vectors_at_all, "night.yaml: scoring.index: ivf needs item vectors, and no model has any"),
        (no_choice, "night.yaml: bad value 'best_by'"),
        (taken, "night.yaml: models.best: default_model: best leaves the choice to validation; rename the model"),
    ],
)
def test_a_bad_config_is_named_with_file_and_key(
    tmp_path: Path, tree: Tree, spoil: Callable[[Tree], None], message: str
) -> None:
    spoil(tree)
    check_refused(call(tmp_path, tree), message)
    assert not (tmp_path / "lake").exists()


def test_a_date_that_is_none(tmp_path: Path, tree: Tree) -> None:
    check_refused(call(tmp_path, tree, ds="1998-02-30"), "--ds '1998-02-30': is no date; write YYYY-MM-DD")
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("letter.txt", "dear", "lake: is no lake"),
        ("_roilake.json", '{"layout": 99}', "_roilake.json: layout 99, but this version reads 4"),
    ],
)
def test_a_folder_that_is_no_lake_or_one_of_another_layout(
    tmp_path: Path, tree: Tree, name: str, text: str, message: str
) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / name).write_text(text)
    check_refused(call(tmp_path, tree), message)
    assert [(path.name, path.read_text()) for path in (tmp_path / "lake").iterdir()] == [(name, text)]


def test_a_job_of_its_own_refuses_another_layout(tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "_roilake.json").write_text('{"layout": 99}')
    outcome = start((sys.executable, "-m", "jobs.retrieval.build_rois"), tmp_path, tree)
    check_refused(outcome, "_roilake.json: layout 99, but this version reads 4")
    assert [path.name for path in (tmp_path / "lake").iterdir()] == ["_roilake.json"]


@pytest.mark.parametrize(
    "command",
    [
        (str(Path(sys.executable).with_name("roilake")), "night"),
        (sys.executable, "-m", "jobs.retrieval.build_rois"),
        (sys.executable, "-m", "jobs.retrieval.publish_night"),
    ],
)
def test_a_pipeline_that_is_being_written(tmp_path: Path, tree: Tree, command: tuple[str, ...]) -> None:
    """Refused before Spark starts."""
    with Lake(None, tmp_path / "lake").writer("retrieval", "train_models", date(1998, 4, 9)):
        holder = f"pipeline 'retrieval' is being written by train_models of 1998-04-09 (process {os.getpid()} on "
        check_refused(start(command, tmp_path, tree), holder)
    assert not (tmp_path / "lake").exists()


def test_a_mapped_column_that_is_not_there(tmp_path: Path, tree: Tree) -> None:
    """The file has to be looked at, so Spark starts; and still nothing is written."""
    tree["source"]["events"]["columns"]["user"] = "customer"
    outcome = start((str(Path(sys.executable).with_name("roilake")), "night"), tmp_path, tree)
    message = "ml-100k.inter: source.events.columns.user: 'customer' does not fit"
    check_refused(outcome, message, alone=False)
    assert "columns are `user_id:token`, `item_id:token`, `rating:float`, `timestamp:float`" in outcome.err
    assert not (tmp_path / "lake").exists()


def test_a_step_of_its_own_checks_the_whole_config(tmp_path: Path, tree: Tree) -> None:
    stray_default(tree)
    outcome = start((sys.executable, "-m", "jobs.retrieval.ingest_events"), tmp_path, tree)
    check_refused(outcome, "night.yaml: default_model: 'better' is not among the models")
    assert not (tmp_path / "lake").exists()


def test_a_night_without_a_date_takes_its_own_or_says_so(tmp_path: Path, tree: Tree) -> None:
    del tree["default_ds"]
    arguments = write_arguments(tmp_path, tree, "")[2:]
    done = CliRunner().invoke(app, ["night", *arguments])
    assert done.exit_code == 2 and "error: --ds: say which night, YYYY-MM-DD" in done.stderr


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("retrival", "bad value 'pipeline': 'retrival' is no pipeline; one of retrieval, conversion, node_labels"),
        (None, "None is no"),
    ],
)
def test_an_unknown_pipeline_is_named(tmp_path: Path, tree: Tree, key: str | None, message: str) -> None:
    check_refused(call(tmp_path, {**tree, "pipeline": key}), message)
