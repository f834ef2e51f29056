"""A lake whose files somebody or some disk has damaged is told in one line that names the file. Without Spark."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from roilake.edge import one_line_errors
from roilake.lake import TABLES, Lake, Run

DS = date(2020, 1, 10)


@pytest.fixture
def written(tmp_path: Path) -> Lake:
    lake, run = Lake(None, tmp_path / "lake"), Run("r", "toy", DS, "s", "c", "v")
    row = {"pipeline": "toy", "ds": DS, "step": "s", "source": "s", "row_id": "i", "row": "{}", "reason": "x"}
    rows = pa.Table.from_pylist([row], schema=TABLES["quarantine"].arrow_schema)
    lake.write("quarantine", rows, where={"ds": DS, "step": "s"}, run=run)
    return lake


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"PAR1 nothing PAR1"), "is damaged"),
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.unlink(), "gone|not there"),
    ],
)
def test_a_damaged_file_is_named(written: Lake, spoil: object, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(written.active_files("quarantine")[0].path)
    spoil(file)  # type: ignore[operator]
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        written.to_arrow("quarantine", written.version("quarantine"))
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1
    assert str(file) in err and any(each in err for each in said.split("|"))


@pytest.mark.parametrize("text", ["", "garbage\n", '{"add": 1}\n'])
def test_a_damaged_log_is_named(written: Lake, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for log in Path(written.table_path("quarantine"), "_delta_log").glob("*.json"):
        log.write_text(text)
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        written.version("quarantine")
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1 and "'quarantine'" in err
