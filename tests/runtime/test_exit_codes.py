"""Every way to start a step ends with the same code for the same fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WAYS = {
    "night": (sys.executable, "-m", "roilake", "night"),
    "step": (sys.executable, "-m", "tests.toy.jobs.ingest_points"),
    "spark-submit": (str(BIN / "spark-submit"), "tests/toy/jobs/ingest_points.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_failed_audit_is_1(tmp_path: Path, way: str) -> None:
    """All points are rejected, more than the budget allows."""
    (tmp_path / "points.csv").write_text("name,time,x,y\n,2020-01-09 10:00:00,0,1\n")
    text = (ROOT / "tests" / "toy" / "night.yaml").read_text()
    (tmp_path / "night.yaml").write_text(text.replace("points.csv", str(tmp_path / "points.csv")))
    environment = {"ROILAKE_PIPELINES": "tests.toy", "PYTHONPATH": f"{ROOT}/libs:{ROOT}"}
    done = subprocess.run(
        [*WAYS[way], "--conf", str(tmp_path / "night.yaml"), "--lake", str(tmp_path / "lake")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment, "PYSPARK_PYTHON": sys.executable},
    )  # fmt: skip
    said = done.stderr + done.stdout  # spark-submit passes all that Python says on to its stdout
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == (1, 1) and "budget" in errors[0], said
    assert "Traceback" not in said
