"""A build that is killed, interrupted or out of disk recovers or fails in one line, and the next one finishes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.retrieval import build_graph, ingest_events
from roilake.errors import LakeError
from roilake.lake import Lake, Make
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import build
from roilake.pipelines.retrieval.graph.neighbour_lists import aggregate
from roilake.pipelines.retrieval.graph.plan import Plan
from tests.conftest import DS
from tests.retrieval.graph.test_graph_jobs import random_events, rows


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of a few pages in place of the folder; the test is skipped where it may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def killed_once(plan: Plan, stream: tuple[str, str]) -> Make:
    """As ``build.aggregating``; the first task of each stream is killed when it has summed up."""
    flag = plan.folder.parent / f"killed-{'_'.join(stream)}"

    def make(task: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        yield from aggregate(plan, stream, task["id"][0].as_py())
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return make


def test_killed_interrupted_and_out_of_disk(
    lake: Lake, make_night: Callable[..., RetrievalConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_night(random_events(8), graph={"similarity": None})
    ingest_events.run(lake, config, DS)
    build_graph.run(lake, config, DS)
    whole = {table: rows(lake, table) for table in ("node_ids", "nodes", "histories", "edges", "adjacency")}
    assert whole["adjacency"] and not list(lake.scratch("graph").glob("*"))

    left = lake.scratch("graph") / "runs" / "user_item" / "00000-000"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"what a build left when it was interrupted")
    sums = lake.lasting("graph_sums")
    shutil.rmtree(sums)
    (sums / "left").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(build, "aggregating", killed_once)
        build_graph.run(lake, config, DS)
    assert len(list(lake.scratch("").glob("killed-*"))) == 4
    assert {table: rows(lake, table) for table in whole} == whole
    assert len(list(sums.iterdir())) == 2 and not (sums / "left").exists()

    versions = {table: lake.version(table) for table in ("histories", "edges", "adjacency")}
    with tiny_disk(lake.scratch(""), "40k"), pytest.raises(LakeError, match="_scratch/graph: No space left"):
        build_graph.run(lake, config, DS)
    assert {table: lake.version(table) for table in versions} == versions
    build_graph.run(lake, config, DS)
    assert {table: rows(lake, table) for table in whole} == whole
