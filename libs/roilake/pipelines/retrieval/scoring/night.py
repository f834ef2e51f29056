"""Plans a scoring pass: which pinned files, models and shards, and runs a function of each shard on the executors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby

import pyarrow as pa
import torch
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import DataFile
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.histories import history_files
from roilake.pipelines.retrieval.roi.layout import Layouts
from roilake.pipelines.retrieval.scoring.pinned import Night, Shard, Tower
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.pipelines.retrieval.seen import SeenRule
from roilake.runtime.step import Recorder


def open_night(
    record: Recorder, config: RetrievalConfig, models: Collection[str], windows: Mapping[date, str]
) -> Night:
    """Pin all that the models need to score the requests of these windows (start to split), and note in the details
    whether seen items are left out.

    Raises LakeError when a model has no row in ``models`` for this night."""
    lake, ds = record.lake, record.run.ds
    rois = files_of(lake, "rois", record.pin("rois"), ds=ds)
    rule = SeenRule.of(config.evaluation.seen, rois)
    record.details["seen"] = rule.details
    return Night(
        towers=tuple(_towers(record, config, models)),
        shards=tuple(_shards([file for file in rois if file.partition["side"] == "request"], windows)),
        nodes=files_of(lake, "nodes", record.pin("nodes"), ds=ds),
        vectors=files_of(lake, "interest_vectors", record.pin("interest_vectors"), ds=ds),
        items=tuple(file for file in rois if file.partition["side"] == "item"),
        histories=history_files(lake, record.pin("histories"), ds),
        max_events=config.history.max_events,
        drop_seen=rule.drop,
        layouts=Layouts.of(config.roi),
        interest_dim=config.interest.dim,
        index=str(lake.scratch(f"{record.run.step}/{ds}")),
        seed=config.seed,
    )


def _towers(record: Recorder, config: RetrievalConfig, models: Collection[str]) -> Iterator[Tower]:
    rows = record.rows("models", columns=("name", "path"))
    paths = {row["name"]: row["path"] for row in rows.to_pylist()}
    for name in models:
        if name not in paths:
            raise LakeError(f"models: no model {name!r} for {record.run.ds}; run train_models for this night first")
        model = config.models[name]
        yield Tower(name, model.kind, model.options, str(record.lake.files.local(paths[name])))


def _shards(files: Iterable[DataFile], windows: Mapping[date, str]) -> Iterator[Shard]:
    wanted = {start.isoformat(): split for start, split in windows.items()}

    def window(file: DataFile) -> tuple[str, int]:
        return file.partition["as_of"], int(file.partition["shard"])

    chosen = [file for file in files if file.partition["as_of"] in wanted and file.rows]
    for (as_of, _), group in groupby(sorted(chosen, key=window), key=window):
        held = list(group)
        paths, rows = tuple(file.path for file in held), sum(file.rows for file in held)
        yield Shard(wanted[as_of], date.fromisoformat(as_of), paths, rows)


def map_shards(
    spark: SparkSession, night: Night, schema: pa.Schema, work: Callable[[Worker, Shard], Iterator[pa.Table]]
) -> DataFrame:
    """Run ``work`` once for each shard, one task each, and gather the rows that it yields.

    A shard is a task whatever the number of cores or partitions, so the rows are the same everywhere."""
    from pyspark.sql.pandas.types import from_arrow_schema

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        context = TaskContext.get()
        torch.set_num_threads(context.cpus() if context else 1)
        worker = Worker(night)
        for batch in batches:
            for number in batch["id"].to_pylist():
                for table in work(worker, night.shards[number]):
                    yield from table.cast(schema).combine_chunks().to_batches()

    count = max(len(night.shards), 1)
    numbers = spark.range(0, len(night.shards), 1, count)
    return numbers.mapInArrow(run, from_arrow_schema(schema))
