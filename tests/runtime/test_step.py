"""What every step shares: its row in runs, its dates, its command line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from roilake.edge import one_line_errors
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.log import configure
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.command import main
from roilake.runtime.run import make_run
from roilake.runtime.step import StepResult, recorded

DS = date(2020, 1, 10)


def never(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    raise AssertionError("must not get here")


def test_a_run_has_the_same_id_for_the_same_work(make_night: Callable[..., RetrievalConfig]) -> None:
    night, other = make_night(""), make_night("", seed=1)
    assert make_run(night, DS, "a") == make_run(night, DS, "a")
    assert make_run(night, DS, "a").run_id == make_run(night, DS, "b").run_id
    assert make_run(night, DS, "a").run_id != make_run(other, DS, "a").run_id
    assert make_run(night, DS, "a").run_id != make_run(night, date(2020, 1, 11), "a").run_id


def test_a_step_leaves_one_row_in_runs_however_often_it_runs(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    for rows in (3, 5):
        with recorded(lake, make_night(""), DS, "step") as record:
            record.rows_in = rows
    assert record.result.rows_in == 5
    found = lake.to_arrow("runs", lake.version("runs")).to_pylist()
    assert [(r["step"], r["status"], r["rows_in"], json.loads(r["inputs"])) for r in found] == [
        ("step", "succeeded", 5, {})
    ]


def test_a_failed_audit_is_recorded_and_other_errors_write_nothing(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    with pytest.raises(SourceError), recorded(lake, make_night(""), DS, "step"):
        raise SourceError("no file")
    assert not lake.exists("runs")
    with pytest.raises(AuditError), recorded(lake, make_night(""), DS, "step"):
        raise AuditError("too many")
    assert [r["status"] for r in lake.to_arrow("runs", lake.version("runs")).to_pylist()] == ["failed"]


@pytest.mark.parametrize(
    ("ds", "conf", "message"),
    [
        ("1998-13-01", "conf/nights/retrieval/movielens.yaml", "--ds '1998-13-01': is no date"),
        ("1998-04-10", "conf/nights/none.yaml", "none.yaml: cannot be read"),
        ("1998-04-10", "conf/nights/retrieval/movielens.yaml", "is no lake"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ds: str,
    conf: str,
    message: str,
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "argv", ["step", "--ds", ds, "--conf", conf, "--lake", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main(never, "retrieval")
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert message in err and len(err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (AuditError("too many"), 1, "error: too many"),
        (SourceError("no file"), 2, "error: no file"),
        (KeyError("lost\nkey"), 3, "error: KeyError: 'lost\\nkey' (nobody foresaw this; its traceback is in "),
    ],
)
def test_an_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        raise error
    out, err = capsys.readouterr()
    assert stopped.value.code == code and out == "" and err.startswith(line) and err.count("\n") == 1
    if code == 3:
        log = Path(err.rsplit(" in ", 1)[1].rstrip(")\n"))
        assert "Traceback" in log.read_text() and "raise error" in log.read_text()
        log.unlink()


def test_the_log_is_lines_or_json(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("roilake.test")
    configure("auto")
    logger.info("wrote %s", "rows")
    configure("json")
    logger.info("wrote", extra={"fields": {"rows": 3}})
    configure("auto")
    plain, machine = capfd.readouterr().err.splitlines()
    assert plain.endswith(" s  wrote rows")
    assert {"message": "wrote", "rows": 3, "level": "info"}.items() <= json.loads(machine).items()
