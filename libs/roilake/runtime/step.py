"""What every job shares: its result, its row in ``runs``, and its command line."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
from pyspark.sql import DataFrame

from roilake import __version__
from roilake.config.base import NightConfig
from roilake.config.loading import load_config
from roilake.errors import AuditError, ConfigError, RoilakeError
from roilake.lake import TABLES, Lake, Make, Run, TaskFiles, check_folder, spark_session
from roilake.memory import PeakMemory
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.estimate import plan_job
from roilake.runtime.kinds import check_lake


@dataclass(frozen=True)
class JobResult:
    """What a job did. ``inputs`` and ``outputs`` map tables to the versions read and written."""

    job: str
    ds: date
    run_id: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    rows_in: int
    rows_out: int
    rows_quarantined: int
    seconds: float
    bytes: int
    details: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "ds": str(self.ds)}, sort_keys=True)


@dataclass
class Recorder:
    """Collects a job's account while it runs. A job reads and writes through it, sets ``rows_in`` (and
    ``rows_quarantined``), adds to ``details``, and after the ``with`` block returns ``record.result``."""

    lake: Lake
    run: Run
    started: float
    outputs: dict[str, int] = field(default_factory=dict)
    rows_in: int = 0
    rows_out: int = 0
    rows_quarantined: int = 0
    bytes: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    _result: JobResult | None = None

    def pin(self, table: str) -> int:
        """The latest version of a table, noted as an input."""
        return self.run.inputs.setdefault(table, self.lake.version(table))

    def read(self, table: str) -> DataFrame:
        """The table at the version that this run is pinned to."""
        return self.lake.read(table, version=self.pin(table))

    def write(self, table: str, rows: DataFrame | pa.Table, **where: object) -> int:
        """``lake.write`` of this night's rows (``where`` narrows them), counted; returns the version."""
        began = time.monotonic()
        version = self.lake.write(table, rows, where={"ds": self.run.ds, **where}, run=self.run)
        self._count(table, version, began)
        return version

    def write_from_tasks(self, tables: Sequence[str], parts: DataFrame, make: Make, **where: object) -> None:
        """``lake.write_from_tasks`` of this night's rows, counted."""
        began = time.monotonic()
        narrowed: dict[str, object] = {"ds": self.run.ds, **where}
        versions = self.lake.write_from_tasks(tables, parts, make, where=narrowed, run=self.run)
        for table, version in versions.items():
            self._count(table, version, began)

    def commit_files(self, tables: Sequence[str], files: TaskFiles) -> None:
        """``lake.commit_files`` of this night's rows, counted."""
        began = time.monotonic()
        versions = self.lake.commit_files(tables, files, where={"ds": self.run.ds}, run=self.run)
        for table, version in versions.items():
            self._count(table, version, began)

    def _count(self, table: str, version: int, began: float) -> None:
        count, size = self.lake.written(table, version)
        self.outputs[table] = version
        if table != "quarantine":
            self.rows_out += count
            self.bytes += size
        self.progress(f"wrote {table} version {version}", rows=count, seconds=time.monotonic() - began)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell, and note in ``details``, how long a part of the job took."""
        began = time.monotonic()
        yield
        seconds = round(time.monotonic() - began, 2)
        self.details.setdefault("stage_seconds", {})[name] = seconds
        self.progress(f"{name}: {seconds:.1f} s")

    def progress(self, text: str, *, rows: int | None = None, seconds: float | None = None) -> None:
        """One line on stderr."""
        rate = (
            f": {rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 1e-3):,.0f}/s)"
            if rows is not None and seconds is not None
            else ""
        )
        print(
            f"{time.monotonic() - self.started:6.1f} s  {self.run.job}  {text}{rate}",
            file=sys.stderr,
            flush=True,
        )

    @property
    def result(self) -> JobResult:
        if self._result is None:
            raise RuntimeError("the job has not ended yet")
        return self._result

    def close(self, status: str) -> None:
        """Write the row in ``runs``."""
        self._result = JobResult(
            job=self.run.job,
            ds=self.run.ds,
            run_id=self.run.run_id,
            inputs=dict(self.run.inputs),
            outputs=dict(self.outputs),
            rows_in=self.rows_in,
            rows_out=self.rows_out,
            rows_quarantined=self.rows_quarantined,
            seconds=round(time.monotonic() - self.started, 3),
            bytes=self.bytes,
            details=self.details,
        )
        row = {**asdict(self._result), "status": status, "config_hash": self.run.config_hash}
        row |= {name: json.dumps(row[name], sort_keys=True) for name in ("inputs", "outputs", "details")}
        rows = pa.Table.from_pylist([row], schema=TABLES["runs"].arrow_schema)
        self.lake.write("runs", rows, where={"ds": self.run.ds, "job": self.run.job}, run=self.run)


@contextmanager
def recorded(lake: Lake, config: NightConfig, ds: date, job: str) -> Iterator[Recorder]:
    """Measure a job and write its row in ``runs``: status ``succeeded``, or ``failed`` when an audit fails.
    Any other error leaves no row, so that bad input writes nothing. Raises LakeError for a lake of another kind of
    nights."""
    check_lake(lake, config)
    record = Recorder(lake, make_run(config, ds, job), time.monotonic())
    record.details |= _planned(lake, config, ds, job)
    record.progress(f"starts, ds {ds}")
    memory = PeakMemory()
    try:
        yield record
    except AuditError:
        record.details["peak_memory"] = memory.stop()
        record.close("failed")
        raise
    finally:
        most = memory.stop()
    record.details["peak_memory"] = most
    record.close("succeeded")
    record.progress(f"done: {record.rows_in:,} rows in, {record.rows_out:,} out")


def _planned(lake: Lake, config: NightConfig, ds: date, job: str) -> dict[str, float]:
    """What the job is meant to take, for its row; empty for a night of another kind, and where it cannot be told: the
    job itself will say why."""
    if not isinstance(config, RetrievalConfig):
        return {}
    try:
        planned = plan_job(lake, config, ds, job)
    except (RoilakeError, OSError):
        return {}
    if planned is None:
        return {}
    return {
        f"planned_{name}": getattr(planned, name) for name in ("rows", "seconds", "bytes", "memory", "disk")
    }


def make_run(config: NightConfig, ds: date, job: str) -> Run:
    """The identity of a run: the same for the same config, night and code."""
    revision = code_revision()
    run_id = hashlib.sha256(f"{config.digest()} {ds} {revision}".encode()).hexdigest()[:12]
    return Run(run_id, ds, job, config.digest(), revision)


@cache
def code_revision() -> str:
    """The commit of the checkout that runs, or the package version where there is no checkout."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"
    return asked.stdout.strip()


def parse_ds(text: str) -> date:
    """A night's logical date. Raises ConfigError."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--ds {text!r}: is no date; write YYYY-MM-DD") from error


def main(run: Callable[..., JobResult], flags: Sequence[str] = (), **options: Callable[[str], Any]) -> None:
    """Command line of a job: ``--ds --conf --lake [--profile]``, the job's own ``options``, which are given to it
    parsed, and its ``flags``, true where they stand. The last stdout line is the result as JSON; exit code 2, and one
    line on stderr, for what a person can mend."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--ds", required=True, help="the night's logical date, YYYY-MM-DD")
    parser.add_argument("--conf", required=True, type=Path, help="the night's YAML")
    parser.add_argument("--lake", required=True, type=Path, help="folder of the lake")
    parser.add_argument("--profile", type=Path, help="Spark settings in spark-defaults form (see conf/spark)")
    for name in options:
        parser.add_argument(f"--{name}", required=True)
    for name in flags:
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    try:
        chosen = {name: parse(getattr(args, name)) for name, parse in options.items()}
        chosen |= {name: getattr(args, name) for name in flags}
        ds, config = parse_ds(args.ds), load_config(args.conf, get_type_hints(run)["config"])
        folder = check_folder(args.lake, create=True)
        spark = spark_session(run.__module__, profile=args.profile)
        print(run(Lake.open(spark, folder, create=True), config, ds, **chosen).to_json(), flush=True)
    except RoilakeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
