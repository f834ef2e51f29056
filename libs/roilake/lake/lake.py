"""A lake: one folder of Delta tables, written by night and read by pinned version."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import date
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from roilake.errors import LakeError
from roilake.lake.data_files import DataFile, content_of, read_file
from roilake.lake.delta import Active, active, ready, replace, written
from roilake.lake.files import LAYOUT, MARKER, Files, check_folder
from roilake.lake.history import KEPT, drop_kept, keep
from roilake.lake.locks import LOCKS, locked
from roilake.lake.publications import Publication
from roilake.lake.tables import TABLES, Table
from roilake.lake.tasks import Make, TaskFiles, digests, run_tasks, write_here, write_rows
from roilake.lake.writes import Run, check_where, check_write, owned

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


NAMES = {"__globPaths__": "false"}
"""Spark's own option for paths that are names: brackets in a folder are no pattern."""


class Lake:
    """Tables are those of ``roilake.lake.tables``. Names passed to methods are table names."""

    def __init__(self, spark: SparkSession | Callable[[], SparkSession] | None, folder: Path) -> None:
        """``spark``: a session, or what starts one when it is first asked for. Without one, all that needs no Spark
        works: versions, files, ``to_arrow`` and publications."""
        self._spark = spark
        self.folder = folder
        self.files = Files(folder)
        """What lasts beside the tables: models, pages, checkpoints, sums of earlier nights."""

    @property
    def spark(self) -> SparkSession:
        """The session. Raises LakeError if the lake was opened without one."""
        if self._spark is None:
            raise LakeError(f"{self.path}: opened without Spark; open it with a session to do this")
        if callable(self._spark):
            self._spark = self._spark()
        return self._spark

    @classmethod
    def open(cls, spark: SparkSession, path: str | Path, *, create: bool) -> Lake:
        """Open the lake at ``path``; with ``create`` the folder may be empty or missing, and becomes a lake when
        something is first written to it. Raises LakeError when there is none, when it has another layout, or when the
        folder holds something else."""
        return cls(spark, check_folder(path, create=create))

    @property
    def path(self) -> str:
        return str(self.folder)

    def table_path(self, table: str) -> str:
        """The folder of a table, there or not yet. Raises LakeError for a name that nobody has defined."""
        return str(self.folder / definition_of(table).name)

    def scratch(self, name: str) -> Path:
        """A folder for what may be lost at any time (spills, stores, downloads); made if missing. It lies below
        ``$ROILAKE_SCRATCH``, or in the lake's own folder without it."""
        self._mark()
        root = os.environ.get("ROILAKE_SCRATCH")
        own = f"{self.folder.name}-{hashlib.sha256(self.path.encode()).hexdigest()[:8]}"  # lakes may share a name
        folder = (Path(root) / own if root else self.folder / "_scratch") / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def lasting(self, name: str) -> Path:
        """A folder for what a run leaves for the next one (checkpoints, sums of earlier nights); made if missing."""
        self._mark()
        folder = self.files.local(f"_state/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # One writer

    @contextmanager
    def writer(self, pipeline: str, step: str, ds: date, *, wait: bool = False) -> Iterator[None]:
        """Be the one writer of a pipeline's nights while the block lasts; within it, and on the same thread, this may
        be said again. Where another process is, wait, or raise LakeError, which names it. A folder that nothing was
        written to is no lake afterwards either."""
        file = self.folder / LOCKS / f"writer-{pipeline}.lock"
        what = f"{self.path}: pipeline {pipeline!r}"
        with locked(file, what, f"{step} of {ds}", wait=wait) as taken:
            self._mark()
            try:
                yield
            finally:
                if taken:
                    self._forget(file)

    def locked(self, table: str) -> AbstractContextManager[bool]:
        """Hold a table that several pipelines write, waiting for it: what is read and then written while the block
        lasts is one change. For a moment only."""
        file = self.folder / LOCKS / f"table-{table}.lock"
        return locked(file, f"{self.path}: table {table!r}", "a commit", wait=True)

    def _forget(self, lock: Path) -> None:
        """Take away what a writer needs, where it is all that there is."""
        if {each.name for each in self.folder.iterdir()} <= {MARKER, LOCKS}:
            with suppress(OSError):  # another pipeline's writer has begun
                lock.unlink()
                lock.parent.rmdir()
                (self.folder / MARKER).unlink(missing_ok=True)
                self.folder.rmdir()

    # Reading

    def exists(self, table: str) -> bool:
        """Whether the table has been written to at all."""
        return DeltaTable.is_deltatable(self.table_path(table))

    def version(self, table: str) -> int:
        """The latest version. Raises LakeError if the table does not exist yet."""
        return self._delta(table).version()

    def read(self, table: str, *, version: int | None = None) -> DataFrame:
        """The table as of ``version`` (default: the latest). Raises LakeError if there is none.

        Spark reads the version's parquet files; which they are, delta-rs tells: replaying a log in the JVM costs more
        than reading a small table (1.5 s against 0.2 s on two cores)."""
        definition = definition_of(table)
        files = [file.path for file in self.active_files(table, version)]
        if not files:
            return self.spark.createDataFrame([], definition.spark_schema)
        reader = self.spark.read.schema(definition.spark_schema).options(**NAMES)
        roots = {root: [file for file in files if file.startswith(f"{root}/")] for root in self._roots(table)}
        parts = [reader.option("basePath", root).parquet(*some) for root, some in roots.items() if some]
        return reduce(lambda one, other: one.unionByName(other), parts).select(*definition.names)

    def active_files(self, table: str, version: int | None = None, **partition: object) -> list[DataFile]:
        """The parquet files that make up a version, sorted by path; those of some partitions, each a value or several,
        e.g. ``ds=ds, side="request"``. Asks the log only, no JVM. Raises LakeError for one that is gone."""
        wanted = {name: {str(each) for each in _values(value)} for name, value in partition.items()}
        files = [self._there(table, file) for file in active(self._delta(table, version), wanted)]
        gone = {tuple(file.partition.items()): file for file in files if not os.path.exists(file.path)}
        for file in gone.values():
            own = [each for each in files if each.partition == file.partition]
            files = [each for each in files if each not in own] + self._rewritten(table, own, file)
        return sorted(files, key=lambda file: file.path)

    def _roots(self, table: str) -> tuple[str, str]:
        """Where files of a table lie: in its own folder, and those that are kept for published nights."""
        return self.table_path(table), str(self.folder / KEPT / table)

    def _there(self, table: str, file: Active) -> DataFile:
        """Where a file of a version lies, or did."""
        paths = [f"{root}/{file.path}" for root in self._roots(table)]
        found = next((path for path in paths if os.path.exists(path)), paths[0])
        return DataFile(found, file.partition, file.rows, file.bytes)

    def _rewritten(self, table: str, files: list[DataFile], gone: DataFile) -> list[DataFile]:
        """The latest files of a partition, where they hold the very rows of ``files``, of which one is gone: the table
        was compacted since. Raises LakeError where they do not."""
        wanted = {name: {value} for name, value in gone.partition.items()}
        latest = [self._there(table, file) for file in active(self._delta(table), wanted)]
        if not latest or digests(files) != content_of(latest, definition_of(table)):
            raise LakeError(
                f"{gone.path}: is gone, as VACUUM takes what no published night reads; name a published night, or run "
                "this one again"
            )
        return latest

    def same(self, table: str, first: int, second: int, **partition: object) -> bool:
        """Whether two versions hold the same rows in a partition, as the log tells: in whatever order and files."""
        return first == second or self.content(table, first, **partition) == self.content(table, second, **partition)

    def content(self, table: str, version: int, **partition: object) -> str:
        """A digest of the rows of a version in a partition, as the log tells it: in whatever order and files (of files
        that an older version of the code has written, of their names)."""
        wanted = {name: {str(value)} for name, value in partition.items()}
        files = active(self._delta(table, version), wanted)
        known = digests(files)
        told = sorted(known.items()) if known is not None else sorted(file.path for file in files)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def to_arrow(
        self,
        table: str,
        version: int,
        *,
        filters: Mapping[str, object] | None = None,
        columns: Collection[str] | None = None,
    ) -> pa.Table:
        """Rows of a version on this machine, without a Spark job: for what fits in memory. ``filters`` maps
        columns to a value or to several. Row order is that of the files: sort where it matters."""
        definition, filters = definition_of(table), filters or {}
        wanted = list(columns or definition.names)
        needed = list(dict.fromkeys([*wanted, *filters]))
        partition = {name: value for name, value in filters.items() if name in definition.partitions}
        parts = [read_file(file, definition, needed) for file in self.active_files(table, version, **partition)]
        empty = definition.arrow_schema.empty_table().select(needed)
        rows = pa.concat_tables([empty, *parts])
        for name, value in filters.items():
            values = pa.array(_values(value), definition.column(name).arrow_type)
            rows = rows.filter(pc.is_in(rows[name], value_set=values))
        return rows.select(wanted)

    # Writing

    def write(self, table: str, rows: DataFrame | pa.Table, *, where: dict[str, object], run: Run) -> int:
        """Replace the rows that match ``where`` (must name ``ds``) by ``rows``; return the committed version. In a
        table that pipelines share, rows are those of the run's pipeline.

        ``rows`` may be a Spark DataFrame or, for what already lies on the driver, an Arrow table, written without a
        Spark job. Columns are cast to the definition; a missing one, and a null where none may be, raises LakeError.
        Running it twice leaves the same table: rows that are there already, in whatever order, are no new version.
        Rows outside ``where`` are refused."""
        definition = definition_of(table)
        rows, where = owned(definition, rows, where, run)
        check_write(definition, rows, where)
        self._mark()
        if isinstance(rows, pa.Table):
            return self._commit(definition, write_here(rows, definition, self.folder), where, run)
        typed = rows.select(*(rows[c.name].cast(c.spark_type).alias(c.name) for c in definition.columns))
        return self._commit(definition, write_rows(typed, definition, self.folder), where, run)

    def write_from_tasks(
        self, tables: Sequence[str], parts: DataFrame, make: Make, *, where: dict[str, object], run: Run
    ) -> dict[str, int]:
        """Replace the rows of ``tables`` that match ``where`` by what ``make`` gives for each partition of
        ``parts``, written by the tasks themselves (see ``roilake.lake.tasks``). ``where`` may name
        partition columns only. Returns the committed versions; each table is one commit."""
        for table in tables:
            check_where(definition_of(table), where)
        return self.commit_files(tables, self.files_from_tasks(parts, make), where=where, run=run)

    def files_from_tasks(self, parts: DataFrame, make: Make) -> TaskFiles:
        """Have tasks write what ``make`` gives for each partition of ``parts``; ``commit_files`` makes it visible."""
        self._mark()
        return run_tasks(parts, make, self.folder)

    def commit_files(
        self, tables: Sequence[str], files: TaskFiles, *, where: dict[str, object], run: Run
    ) -> dict[str, int]:
        """As ``write_from_tasks``, of files that tasks have written, at once or in several turns."""
        for table in tables:
            check_where(definition_of(table), where)
        return {table: self._commit(definition_of(table), files.get(table, []), where, run) for table in tables}

    def _commit(self, table: Table, files: list[AddAction], where: dict[str, object], run: Run) -> int:
        """Replace the files that match ``where`` by these, in one commit, unless they hold the same rows; returns the
        version that has them. Raises LakeError for files that lie outside of it."""
        wanted = {name: str(value) for name, value in where.items()}
        with self.locked(table.name):
            delta = ready(self.folder / table.name, table)
            if any({**dict(file.partition_values), **wanted} != dict(file.partition_values) for file in files):
                raise LakeError(f"{table.name}: rows to write lie outside {where}")
            there = active(delta, {name: {value} for name, value in wanted.items()})
            now = digests(written(file) for file in files)
            if now is not None and now == digests(there):
                for file in files:
                    (self.folder / table.name / file.path).unlink()
                return delta.version()
            if there and self._is_read(table, run):
                keep(self.folder, table, (file.path for file in there))
            replace(delta, files, wanted, run)
            return self.version(table.name)

    def _is_read(self, table: Table, run: Run) -> bool:
        """Whether a published night may read the rows of this run's night: its own publication, or, of a cumulative
        table, a later one."""
        if not self.exists("publications"):
            return False
        nights = [(file.partition["pipeline"], file.partition["ds"]) for file in self.active_files("publications")]
        if table.cumulative:
            return any(ds >= str(run.ds) for _, ds in nights)
        return (run.pipeline, str(run.ds)) in nights

    def _mark(self) -> None:
        if not self.files.exists(MARKER):
            self.files.write_text(MARKER, json.dumps({"layout": LAYOUT}) + "\n")

    # Publishing

    def publish(self, publication: Publication, run: Run) -> None:
        """Make a night visible, as one commit: the versions of its tables that belong together."""
        self.write("publications", publication.to_arrow(), where={"ds": publication.ds}, run=run)
        drop_kept(self.folder, publication.pipeline, publication.ds)

    def publication(self, pipeline: str, *, ds: date | None = None, before: date | None = None) -> Publication | None:
        """The publication of a pipeline's night ``ds``, the latest one before ``before``, or its latest of all, if
        any."""
        nights = [night for night in self.publications(pipeline) if ds is None or night.ds == ds]
        fitting = [night for night in nights if before is None or night.ds < before]
        return fitting[-1] if fitting else None

    def publications(self, pipeline: str | None = None) -> list[Publication]:
        """All published nights, of one pipeline or of all, the latest one last."""
        if not self.exists("publications"):
            return []
        nights = self._publications(self.version("publications"))
        return [night for night in nights if pipeline in (None, night.pipeline)]

    def _publications(self, version: int) -> list[Publication]:
        rows = self.to_arrow("publications", version).to_pylist()
        nights = [Publication.of(row) for row in rows]
        return sorted(nights, key=lambda night: (night.ds, night.pipeline))

    def replaced_publication(self, run_id: str) -> Publication | None:
        """The publication of a run (named by its id's start) that a later run of the same night has replaced."""
        if not self.exists("publications"):
            return None
        for commit in self._delta("publications").history():
            written = json.loads(commit.get("userMetadata", "{}")).get("run_id", "")
            if written.startswith(run_id):
                nights = self._publications(commit["version"])
                return next((night for night in nights if night.run_id == written), None)
        return None

    def _delta(self, table: str, version: int | None = None) -> DeltaTable:
        if not self.exists(table):
            raise LakeError(f"{self.path}: has no table {table!r} yet; run the job that writes it first")
        try:
            return DeltaTable(self.table_path(table), version=version)
        except Exception as error:
            raise LakeError(f"{self.path}: table {table!r} has no readable version {version}") from error


def definition_of(table: str) -> Table:
    """The definition of a table. Raises LakeError for a name that no pipeline has defined."""
    if table not in TABLES:
        raise LakeError(f"{table!r}: no such table; there are {', '.join(TABLES)}")
    return TABLES[table]


def _values(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
