"""Events -> ``node_ids``, ``nodes``, ``histories``, and ``edges`` and ``adjacency`` as of each window of the night."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError, SourceError
from roilake.ingest import Budget, accounted, give_ids
from roilake.lake import DataFile, Lake, TaskFiles, extremes
from roilake.lake.scratch import empty, scratch_folder
from roilake.lake.session import cached
from roilake.pipelines.retrieval.config import PredictedLabels, PublishedFacts, RetrievalConfig
from roilake.pipelines.retrieval.events import NODE_TYPE_OF, attribute_rows, attribute_sources, node_attributes
from roilake.pipelines.retrieval.graph import (
    SimilarityRules,
    build,
    night_windows,
    plan_slices,
    similar_pairs,
    similarity_contributions,
)
from roilake.pipelines.retrieval.graph.facts import PublishedNight
from roilake.pipelines.retrieval.graph.histories import cut_users, drop_spilled
from roilake.pipelines.retrieval.graph.incremental import SEEN, IncrementalAggregates, StaleSumsError, check_parts
from roilake.pipelines.retrieval.graph.nodes import ATTRIBUTES, describe_nodes, labels_of, with_labels
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan
from roilake.pipelines.retrieval.graph.scan import Slice
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded
from roilake.runtime.upstreams import described as described_upstream

_FILES = 4


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Ids are given to the keys that have none yet, ``nodes`` are the keys of all events up to the night, ``histories``
    get its own events; edges and adjacency hold, for each window, only events before its start. Events that an earlier
    night has summed up are not read again. Raises SourceError when there are no events at all, LakeError when the disk
    is full."""
    with recorded(lake, config, ds, "build_graph") as record, scratch_folder(lake.scratch("graph")) as scratch:
        files = [f for f in lake.active_files("events", record.pin("events")) if f.partition["ds"] <= str(ds)]
        record.rows_in = sum(file.rows for file in files)
        if not record.rows_in:
            raise SourceError(f"{config.source.events.path}: has no event up to {ds}; choose a later --ds")
        parts = build.count_parts(record.rows_in, lake.spark.sparkContext.defaultParallelism)
        plan = _plan(record, config, scratch, parts, files)
        earlier = IncrementalAggregates.of(lake).fitting(plan, files)
        try:
            _night(record, config, plan, files, earlier)
        except StaleSumsError as stale:
            record.progress(f"{stale}: all events are summed up again")
            empty(scratch)
            _night(record, config, plan, files, earlier.without())
    return record.result


def _plan(record: Recorder, config: RetrievalConfig, scratch: Path, parts: int, files: list[DataFile]) -> Plan:
    """As far as it is known before ids are given."""
    instants = sorted({window.as_of for window in night_windows(record.lake, config, record.run.ds)})
    nights = {file.partition["ds"] for file in files}
    first, _ = extremes(record.lake, "events", record.pin("events"), "time", (), filters={"ds": nights})[()]
    return Plan(
        folder=scratch,
        ds=record.run.ds,
        instants=tuple(instants),
        half_life_days=config.graph.half_life_days,
        max_neighbours=config.graph.max_neighbours,
        nodes={},
        parts=parts,
        timed=config.graph.edges,
        first=pa.scalar(first, pa.timestamp("us", "UTC")).value,
    )


def _night(
    record: Recorder, config: RetrievalConfig, plan: Plan, files: list[DataFile], earlier: IncrementalAggregates
) -> None:
    """The build from ``earlier`` sums and from the files whose events they lack."""
    spark = record.lake.spark
    new = earlier.beside(files)
    events = sum(file.rows for file in new)
    plan = earlier.extended(plan, events)
    record.details |= {"windows": len(plan.instants), "parts": plan.parts, "new_events": events}
    cores = spark.sparkContext.defaultParallelism
    own = {file.path: file.rows for file in files if file.partition["ds"] == str(plan.ds)}
    tasks = plan_slices([file.path for file in new], build.slice_events(events, cores), own=own)
    new_seen = build.seen(spark, tasks, plan.parts).persist()
    seen = build.with_seen(new_seen, earlier.seen())
    with record.stage("ids"):
        ids = give_ids(record, seen, files=_FILES)
        nodes = seen.join(ids, on=["node_type", "key"], how="inner")
    with record.stage("nodes"):
        _write_nodes(record, nodes, config, plan)
    with record.stage("keys"):
        plan = replace(plan, nodes=_lay_out_keys(record, plan, earlier))
        _spread(plan, earlier, nodes)
    written = _similar(record, plan, config, nodes)
    for table, files_of_known in _known(record, plan, config, nodes).items():
        written.setdefault(table, []).extend(files_of_known)
    most = build.slice_events(sum(own.values()), cores)
    again = sorted(own.keys() - {file.path for file in new})  # of a rerun: for histories only
    _build(record, plan, tasks + plan_slices(again, most, new=False, own=own), most, written)
    if earlier.grows(plan, new):
        with record.stage("keep"):
            (seen if plan.compacting else new_seen).write.parquet(str(plan.folder / SEEN))
            earlier.leave(plan, files if plan.compacting else new)
    new_seen.unpersist()


def _write_nodes(record: Recorder, nodes: DataFrame, config: RetrievalConfig, plan: Plan) -> None:
    """What the sources tell of the nodes. Raises AuditError when they lose more rows than ``source`` allows, or
    describe too few of the nodes."""
    source = config.source
    rows = attribute_rows(record.lake.spark, source)
    if rows is None:
        _describe(record, nodes, record.lake.spark.createDataFrame([], ATTRIBUTES), config, plan)
        return
    paths = {name: of_type.path for name, of_type in attribute_sources(source).items()}
    events = record.rows_in
    with accounted(record, rows, Budget("source", source, paths)) as sound:
        record.rows_in = events  # what the step is about; of attributes tell its ``sources``
        _describe(record, nodes, node_attributes(sound), config, plan)


def _describe(record: Recorder, nodes: DataFrame, attributes: DataFrame, config: RetrievalConfig, plan: Plan) -> None:
    source = config.source
    described = describe_nodes(nodes, attributes, query_terms_from_key=source.queries is None)
    if config.graph.labels:
        described = _labelled(record, described, config.graph.labels, plan.instants[0])
    if config.graph.facts and config.graph.facts.vectors:
        described = _with_vectors(record, described, config.graph.facts)
    with cached(described) as described:
        counts = described.groupBy("node_type").agg(F.count(F.lit(1)).alias("seen"), F.sum("described").alias("known"))
        found = {row["node_type"]: (row["known"], row["seen"]) for row in counts.collect()}
        record.write("nodes", described.drop("described").withColumn("ds", F.lit(plan.ds)).coalesce(_FILES))
    named = {NODE_TYPE_OF[name]: name for name in attribute_sources(source)}
    record.details["described"] = {kind: found[kind] for kind in sorted(found) if kind in named}
    for kind, (known, seen) in record.details["described"].items():
        if known < source.minimum_coverage * seen:
            raise AuditError(
                f"source.{named[kind]}: describes {known} of {seen} {named[kind]} of the events, below source."
                f"minimum_coverage {source.minimum_coverage:g}; does source.{named[kind]}.key say what the events do?"
            )


def _labelled(record: Recorder, described: DataFrame, given: PredictedLabels, first: date) -> DataFrame:
    """Nodes with the labels of the last night of ``node_labels`` before ``first``, the start of the first window: a
    later one has seen what the models are to predict. How many nodes have one is noted."""
    lake, table = record.lake, "node_predictions"
    found = lake.publication("node_labels", before=first)
    if found is None:
        record.progress(f"no night of node_labels is published before {first}, the first window: goes on without")
        record.upstreams["node_labels"] = None
        return described
    record.upstreams["node_labels"] = described_upstream(found, table)
    rows = lake.read(table, version=found.versions[table])
    labels = labels_of(rows.where(F.col("ds") == F.lit(found.ds)), given)
    had = described.join(labels, on=["node_type", "key"], how="inner").groupBy("source").count().collect()
    record.details["labelled"] = {row["source"]: row["count"] for row in had}
    return with_labels(described, labels.drop("source"), given.field)


def _with_vectors(record: Recorder, described: DataFrame, given: PublishedFacts) -> DataFrame:
    """Nodes with the vectors of items that ``knowledge_graph`` published. How many items have one is noted."""
    vectors = PublishedNight.of(record, given).vectors()
    found = record.lake.spark.createDataFrame(vectors.to_pandas(), "key string, vector array<float>")
    own = described.drop("vector").join(
        found.withColumn("node_type", F.lit("item")), on=["node_type", "key"], how="left"
    )
    record.details["published_vectors"] = vectors.num_rows
    return own.select(*described.columns)


def _lay_out_keys(record: Recorder, plan: Plan, earlier: IncrementalAggregates) -> dict[str, int]:
    # Ids of later nights and of other pipelines too: only all of them together are dense.
    ids = record.lake.to_arrow("node_ids", record.outputs["node_ids"], columns=["node_type", "key", "id"])
    counts = build.write_keys(plan.folder, ids)
    earlier.check_keys(plan.folder / "keys")
    return counts


def _spread(plan: Plan, earlier: IncrementalAggregates, nodes: DataFrame) -> None:
    """As the earlier sums are spread, or by the events of each node."""
    if earlier.base:
        return build.extend_spread(plan, earlier.base)
    hubs = nodes.where(F.col("events") > build.HUB_EVENTS)
    build.write_spread(plan, hubs.select("node_type", "id", "events").collect())


def _similar(record: Recorder, plan: Plan, config: RetrievalConfig, nodes: DataFrame) -> TaskFiles:
    """Similarity edges, which few pairs make: candidates come from Spark ML, lists from one task's share."""
    similarity, lake = config.graph.similarity, record.lake
    if not similarity:
        return {}
    described = lake.read("nodes", version=record.outputs["nodes"]).where(F.col("ds") == F.lit(plan.ds))
    seen = nodes.select("node_type", "id", "first_time")
    with record.stage("similarity"), cached(described.join(seen, on=["node_type", "id"], how="inner")) as timed:
        pairs = similar_pairs(timed, similarity, config.seed)
        if pairs is None:
            return {}
        rules = SimilarityRules(plan.ds, plan.instants, similarity.top, plan.max_neighbours, plan.timed)
        contributions = similarity_contributions(pairs).repartition("edge_type", "src")
        return lake.files_from_tasks(contributions, rules.tables)


def _known(record: Recorder, plan: Plan, config: RetrievalConfig, nodes: DataFrame) -> TaskFiles:
    """Edges of items that have published facts in common; like those of similarity, few pairs make them."""
    if not config.graph.facts:
        return {}
    with record.stage("facts"):
        pairs = PublishedNight.of(record, config.graph.facts).pairs(nodes)
        rules = SimilarityRules(plan.ds, plan.instants, config.graph.facts.top, plan.max_neighbours, plan.timed)
        contributions = similarity_contributions(pairs).repartition("edge_type", "src")
        return record.lake.files_from_tasks(contributions, rules.tables)


def _build(record: Recorder, plan: Plan, tasks: list[list[Slice]], most: int, files: TaskFiles) -> None:
    """``histories``, ``edges`` and ``adjacency`` from the interactions, and from what is in ``files`` already. A task
    writes about ``most`` rows of ``histories``."""
    lake, spark = record.lake, record.lake.spark

    def add(found: TaskFiles) -> None:
        for table, written in found.items():
            files.setdefault(table, []).extend(written)

    with record.stage("spill"):
        build.spill(spark, plan, tasks)
        check_parts(plan)
    record.details["spilled_bytes"] = build.spilled_bytes(plan)
    with record.stage("histories"):
        if ranges := cut_users(plan, most):
            add(lake.files_from_tasks(build.numbered_tasks(spark, len(ranges)), build.writing_histories(plan, ranges)))
        drop_spilled(plan)
    for stream in STREAMS:
        with record.stage(f"sum {'_'.join(stream)}"):
            add(lake.files_from_tasks(build.numbered_tasks(spark, plan.parts), build.aggregating(plan, stream)))
        if plan.compacting:
            build.drop_runs(plan, stream)
    with record.stage("merge"):
        add(lake.files_from_tasks(build.numbered_tasks(spark, plan.parts), build.merging(plan)))
    record.details["task_seconds"] = build.task_seconds(plan)
    record.commit_files(("histories", *(("edges",) if plan.timed else ()), "adjacency"), files)


if __name__ == "__main__":
    main(run, "retrieval")
