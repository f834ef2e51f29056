"""The harness that runs a step: what it reads and writes by version, its account in ``runs``, progress, planned and
spent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from roilake.config import NightConfig
from roilake.errors import AuditError, RoilakeError
from roilake.lake import TABLES, Lake, Make, Publication, Run, TaskFiles
from roilake.memory import PeakMemory
from roilake.runtime import start
from roilake.runtime.run import make_run
from roilake.runtime.upstreams import described, find_upstream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LOG = logging.getLogger("roilake.step")


@dataclass(frozen=True)
class StepResult:
    """What a step did. ``inputs`` and ``outputs`` map tables to the versions read and written, ``upstreams`` the
    pipelines that were read to their publications."""

    pipeline: str
    step: str
    ds: date
    run_id: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    upstreams: dict[str, Any]
    rows_in: int
    rows_out: int
    rows_quarantined: int
    rows_later: int
    seconds: float
    bytes: int
    details: dict[str, Any]

    def to_json(self) -> str:
        """One line, keys sorted: what a step prints on stdout."""
        return json.dumps({**asdict(self), "ds": str(self.ds)}, sort_keys=True)


@dataclass
class Recorder:
    """Collects a step's account while it runs. A step reads and writes through it, sets ``rows_in`` (and
    ``rows_quarantined``, ``rows_later``), adds to ``details``, and after the ``with`` block returns
    ``record.result``."""

    lake: Lake
    config: NightConfig
    run: Run
    started: float
    outputs: dict[str, int] = field(default_factory=dict)
    upstreams: dict[str, Any] = field(default_factory=dict)
    rows_in: int = 0
    rows_out: int = 0
    rows_quarantined: int = 0
    rows_later: int = 0
    bytes: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    peak_memory: Callable[[], int] = int  # bytes; none where nobody watches
    _result: StepResult | None = None

    def pin(self, table: str) -> int:
        """The latest version of a table, noted as an input."""
        return self.run.inputs.setdefault(table, self.lake.version(table))

    def read(self, table: str) -> DataFrame:
        """The table at the version that this run is pinned to."""
        return self.lake.read(table, version=self.pin(table))

    def rows(self, table: str, *, columns: Collection[str] | None = None, **where: object) -> pa.Table:
        """This night's own rows on this machine; ``where`` narrows them."""
        filters = {**TABLES[table].own(self.run.pipeline, self.run.ds), **where}
        return self.lake.to_arrow(table, self.pin(table), filters=filters, columns=columns)

    def contents(self) -> dict[str, str]:
        """Of each table that was read so far, a digest of this night's own rows."""
        owned = {table: TABLES[table].own(self.run.pipeline, self.run.ds) for table in sorted(self.run.inputs)}
        return {table: self.lake.content(table, self.run.inputs[table], **own) for table, own in owned.items()}

    def upstream(self, pipeline: str, table: str) -> Publication | None:
        """The publication of another pipeline that this night reads ``table`` of, noted; None, which is logged,
        where an optional one is missing. Raises LakeError for a missing one that the config needs."""
        found = find_upstream(self.lake, self.config, self.run.ds, pipeline)
        if found is None or table not in found.versions:
            self.progress(f"no night of {pipeline} with {table} is published up to {self.run.ds}: goes on without")
            self.upstreams.setdefault(pipeline, None)
            return None
        read = self.upstreams.get(pipeline) or {"tables": {}}
        self.upstreams[pipeline] = described(found, table, *read["tables"])
        return found

    def write(self, table: str, rows: DataFrame | pa.Table, **where: object) -> int:
        """``lake.write`` of this night's rows (``where`` narrows them), counted; returns the version."""
        began = time.monotonic()
        version = self.lake.write(table, rows, where={"ds": self.run.ds, **where}, run=self.run)
        self._count({table: version}, began, **where)
        return version

    def write_from_tasks(self, tables: Sequence[str], parts: DataFrame, make: Make) -> None:
        """``lake.write_from_tasks`` of this night's rows, counted."""
        began = time.monotonic()
        versions = self.lake.write_from_tasks(tables, parts, make, where={"ds": self.run.ds}, run=self.run)
        self._count(versions, began)

    def commit_files(self, tables: Sequence[str], files: TaskFiles) -> None:
        """``lake.commit_files`` of this night's rows, counted."""
        began = time.monotonic()
        versions = self.lake.commit_files(tables, files, where={"ds": self.run.ds}, run=self.run)
        self._count(versions, began)

    def _count(self, versions: Mapping[str, int], began: float, **where: object) -> None:
        for table, version in versions.items():
            own = TABLES[table].own(self.run.pipeline, self.run.ds)
            files = self.lake.active_files(table, version, **own, **where)
            count = sum(file.rows for file in files)
            self.outputs[table] = version
            if table != "quarantine":
                self.rows_out += count
                self.bytes += sum(file.bytes for file in files)
            self.progress(f"wrote {table} version {version}", rows=count, seconds=time.monotonic() - began)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log, and note in ``details``, how long a part of the step took."""
        began = time.monotonic()
        yield
        seconds = round(time.monotonic() - began, 2)
        self.details.setdefault("stage_seconds", {})[name] = seconds
        self.progress(name, seconds=seconds)

    def progress(self, text: str, *, rows: int | None = None, seconds: float | None = None) -> None:
        """One line on stderr."""
        fields: dict[str, Any] = {"step": self.run.step, "rows": rows, "seconds": seconds}
        counted = "" if rows is None else f"{rows:,} rows"
        timed = "" if seconds is None else f"{seconds:.1f} s"
        rate = f" ({rows / max(seconds, 1e-3):,.0f}/s)" if rows is not None and seconds is not None else ""
        measured = " in ".join(part for part in (counted, timed) if part)
        tail = f": {measured}{rate}" if measured else ""
        LOG.info("%s  %s%s", self.run.step, text, tail, extra={"fields": fields})

    def _note_start(self, seconds: float) -> None:
        """Of the step's seconds, what the process, or the session, took to start."""
        if seconds:
            self.details["start_seconds"] = round(self.details.get("start_seconds", 0.0) + seconds, 3)

    @property
    def result(self) -> StepResult:
        """What the step did. Raises RuntimeError inside of the ``with`` block, where it is not known yet."""
        if self._result is None:
            raise RuntimeError("the step has not ended yet")
        return self._result

    @property
    def closed(self) -> bool:
        """Whether the step has its row in ``runs`` already."""
        return self._result is not None

    def close(self, status: str) -> int:
        """Write the row in ``runs``; returns its version. The harness does so when the step ends; only who needs the
        row before that does so itself."""
        self._note_start(start.take())
        self.details["peak_memory"] = self.peak_memory()
        self._result = StepResult(
            pipeline=self.run.pipeline,
            step=self.run.step,
            ds=self.run.ds,
            run_id=self.run.run_id,
            inputs=dict(self.run.inputs),
            outputs=dict(self.outputs),
            upstreams=self.upstreams,
            rows_in=self.rows_in,
            rows_out=self.rows_out,
            rows_quarantined=self.rows_quarantined,
            rows_later=self.rows_later,
            seconds=round(time.monotonic() - self.started, 3),
            bytes=self.bytes,
            details=self.details,
        )
        row = {**asdict(self._result), "status": status, "config_hash": self.run.config_hash}
        texts = ("inputs", "outputs", "upstreams", "details")
        row |= {name: json.dumps(row[name], sort_keys=True) for name in texts}
        rows = pa.Table.from_pylist([row], schema=TABLES["runs"].arrow_schema)
        return self.lake.write("runs", rows, where={"ds": self.run.ds, "step": self.run.step}, run=self.run)


@contextmanager
def recorded(lake: Lake, config: NightConfig, ds: date, step: str) -> Iterator[Recorder]:
    """Measure a step, as the pipeline's one writer, and write its row in ``runs``: status ``succeeded``, or ``failed``
    when an audit fails. Any other error leaves no row, so that bad input writes nothing."""
    with lake.writer(config.pipeline, step, ds):
        began, memory = start.take(), PeakMemory()
        run = make_run(config, ds, step)
        record = Recorder(lake, config, run, time.monotonic() - began, peak_memory=memory.stop)
        record._note_start(began)
        record.details |= _planned(lake, config, ds, step, starts=began > 0)
        record.progress(f"starts, ds {ds}")
        try:
            yield record
        except BaseException as error:
            if isinstance(error, AuditError) or record.closed:
                record.close("failed")
            raise
        finally:
            memory.stop()
        if not record.closed:
            record.close("succeeded")
        record.progress(f"done: {record.rows_in:,} rows in, {record.rows_out:,} out")


def _planned(lake: Lake, config: NightConfig, ds: date, step: str, *, starts: bool) -> dict[str, float]:
    """What the step is meant to take, for its row, with the start of its process where it ``starts`` one; empty where
    nobody has measured it, and where it cannot be estimated: the step itself will say why."""
    from roilake.estimate.plan import UNKNOWN, estimate_night

    try:
        night = estimate_night(lake, config, ds)
        planned = next((each for each in night.steps if each.step == step), None)
    except (RoilakeError, OSError):
        return {}
    if planned is None or planned.origin == UNKNOWN.origin:
        return {}
    whole = replace(planned, seconds=round(planned.seconds + (night.start if starts else 0.0), 1))
    return {f"planned_{name}": getattr(whole, name) for name in ("rows", "seconds", "bytes", "memory", "disk")}
