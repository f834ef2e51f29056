"""One writer a pipeline and lake: a second one waits or is refused by name, and a dead one's lock is free."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from roilake.errors import LakeError
from roilake.lake import Lake

MONDAY = date(2020, 1, 6)
HOLD = """
import sys, time
from datetime import date
from pathlib import Path
from roilake.lake import Lake
with Lake(None, Path(sys.argv[1])).writer("toy", "build_rois", date(2020, 1, 6)):
    print("held", flush=True)
    time.sleep(600)
"""
WRITE = """
import sys
from datetime import date
from pathlib import Path
import pyarrow as pa
from roilake.lake import TABLES, Lake, Run
lake, pipeline = Lake(None, Path(sys.argv[1])), sys.argv[2]
for day in range(1, 16):
    ds = date(2020, 1, day)
    row = {"ds": ds, "pipeline": pipeline, "step": "j", "row": f"{pipeline} {day}", "reason": "r"}
    row |= {"source": "s", "row_id": "i"}
    rows = pa.Table.from_pylist([row], schema=TABLES["quarantine"].arrow_schema)
    version = lake.write("quarantine", rows, where={"ds": ds, "step": "j"}, run=Run("r", pipeline, ds, "j", "c", "v"))
    own = lake.to_arrow("quarantine", version, filters={"ds": ds, "pipeline": pipeline})
    assert own["row"].to_pylist() == [row["row"]], own
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(None, tmp_path / "lake")


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_second_process_is_refused_by_name_until_the_first_has_died(lake: Lake) -> None:
    holder = start(HOLD, lake.path)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(LakeError) as refused, lake.writer("toy", "night", MONDAY):
            raise AssertionError("must not get here")
        message = str(refused.value)
        named = f"pipeline 'toy' is being written by build_rois of 2020-01-06 (process {holder.pid} on {os.uname()[1]}"
        assert named in message and "since 20" in message and "--wait" in message and "\n" not in message
        with lake.writer("other", "night", MONDAY):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with lake.writer("toy", "night", MONDAY):
        assert "night of 2020-01-06" in (lake.folder / "_locks" / "writer-toy.lock").read_text()


def test_one_that_waits_goes_on_when_the_first_has_ended(lake: Lake) -> None:
    order = []

    def wait() -> None:
        with lake.writer("toy", "night", MONDAY, wait=True):
            order.append("second")

    second = threading.Thread(target=wait)
    with lake.writer("toy", "night", MONDAY):
        second.start()
        with lake.writer("toy", "build_rois", MONDAY):  # within it, on the same thread, it may be said again
            second.join(0.3)
        order.append("first")
    second.join(30)
    assert order == ["first", "second"]


def test_a_folder_that_nothing_was_written_to_is_gone(lake: Lake) -> None:
    with suppress(KeyError), lake.writer("toy", "night", MONDAY), lake.writer("toy", "step", MONDAY):
        raise KeyError("a step that died")
    assert not lake.folder.exists()


def test_no_two_hold_it_at_once_though_its_file_comes_and_goes(lake: Lake) -> None:
    inside: list[int] = []

    def hold(number: int) -> None:
        for _ in range(25):
            with lake.writer("toy", "night", MONDAY, wait=True):
                inside.append(number)
                assert len(inside) == 1
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(4)))
    assert not lake.folder.exists()


def test_two_pipelines_commit_to_a_shared_table_at_once(lake: Lake) -> None:
    writers = [start(WRITE, lake.path, pipeline) for pipeline in ("toy", "other")]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    assert lake.to_arrow("quarantine", lake.version("quarantine")).num_rows == 30


def test_what_is_written_by_several_at_once_is_whole(lake: Lake) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            lake.files.write_text("reports/page.html", str(number) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    text = lake.files.read_text("reports/page.html")
    assert text in {str(number) * 1000 for number in range(4)}
    assert [each.name for each in (lake.folder / "reports").iterdir()] == ["page.html"]


def test_lakes_of_one_name_have_scratch_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROILAKE_SCRATCH", str(tmp_path / "fast"))
    folders = {Lake(None, tmp_path / parent / "lake").scratch("graph") for parent in ("a", "b")}
    assert len(folders) == 2 and all(folder.is_relative_to(tmp_path / "fast") for folder in folders)
