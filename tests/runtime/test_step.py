"""What every job shares: its row in runs, its dates, its command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.step import JobResult, main, make_run, recorded

DS = date(2020, 1, 10)


def never(lake: Lake, config: RetrievalConfig, ds: date) -> JobResult:
    raise AssertionError("must not get here")


def test_a_run_has_the_same_id_for_the_same_work(make_night: Callable[..., RetrievalConfig]) -> None:
    night, other = make_night(""), make_night("", seed=1)
    assert make_run(night, DS, "a") == make_run(night, DS, "a")
    assert make_run(night, DS, "a").run_id == make_run(night, DS, "b").run_id
    assert make_run(night, DS, "a").run_id != make_run(other, DS, "a").run_id
    assert make_run(night, DS, "a").run_id != make_run(night, date(2020, 1, 11), "a").run_id


def test_a_job_leaves_one_row_in_runs_however_often_it_runs(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    for rows in (3, 5):
        with recorded(lake, make_night(""), DS, "job") as record:
            record.rows_in = rows
    assert record.result.rows_in == 5
    found = lake.to_arrow("runs", lake.version("runs")).to_pylist()
    assert [(r["job"], r["status"], r["rows_in"], json.loads(r["inputs"])) for r in found] == [
        ("job", "succeeded", 5, {})
    ]


def test_a_failed_audit_is_recorded_and_other_errors_write_nothing(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    with pytest.raises(SourceError), recorded(lake, make_night(""), DS, "job"):
        raise SourceError("no file")
    assert not lake.exists("runs")
    with pytest.raises(AuditError), recorded(lake, make_night(""), DS, "job"):
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
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr(sys, "argv", ["job", "--ds", ds, "--conf", conf, "--lake", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main(never)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert message in err and len(err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
