"""Events -> ``node_ids``, ``nodes``, and ``edges`` and ``adjacency`` as of the start of each of the night's
windows."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.config import NightConfig
from roilake.errors import SourceError
from roilake.events import node_attributes
from roilake.graph import (
    EdgeRules,
    assign_ids,
    first_seen,
    indexed,
    interaction_moments,
    night_windows,
    similar_pairs,
    similarity_moments,
)
from roilake.graph.nodes import describe_nodes
from roilake.job import JobResult, Recorder, main, recorded
from roilake.lake import TABLES, Lake

JOB = "build_graph"


def run(lake: Lake, config: NightConfig, ds: date) -> JobResult:
    """Ids are given to the keys that no earlier night knows; edges and adjacency hold, for each window,
    only events before its start. Raises SourceError when there are no events at all."""
    with recorded(lake, config, ds, JOB) as record:
        events = record.read("events").where(F.col("ds") <= F.lit(ds)).persist()
        record.rows_in = events.count()
        if not record.rows_in:
            raise SourceError(f"{config.source.events.path}: has no event up to {ds}; choose a later --ds")
        _write_ids(record, events, ds)
        ids = (
            lake.read("node_ids", version=record.outputs["node_ids"])
            .where(F.col("ds") <= F.lit(ds))
            .persist()
        )
        _write_nodes(record, ids, config, ds)
        _write_edges(record, events, ids, config, ds)
        events.unpersist(), ids.unpersist()
    return record.result


def _write_ids(record: Recorder, events: DataFrame, ds: date) -> None:
    """A rerun gives the night's ids again, unless later nights build on them: then it only adds to them."""
    spark = record.lake.spark
    if record.lake.exists("node_ids"):
        given = record.read("node_ids")
        later = not given.where(F.col("ds") > F.lit(ds)).isEmpty()
        known = given if later else given.where(F.col("ds") < F.lit(ds))
    else:
        known, later = spark.createDataFrame([], TABLES["node_ids"].spark_schema), False
    new = assign_ids(events, known, ds)
    kept = known.where((F.col("ds") == F.lit(ds)) & F.lit(later))
    record.write("node_ids", new.unionByName(kept.select(new.columns)).coalesce(1))


def _write_nodes(record: Recorder, ids: DataFrame, config: NightConfig, ds: date) -> None:
    attributes = node_attributes(record.lake.spark, config.source)
    nodes = describe_nodes(ids, attributes, query_terms_from_key=config.source.queries is None)
    record.write("nodes", nodes.withColumn("ds", F.lit(ds)).coalesce(1))


def _write_edges(record: Recorder, events: DataFrame, ids: DataFrame, config: NightConfig, ds: date) -> None:
    moments = interaction_moments(indexed(events, F.broadcast(ids)))
    similarity = config.graph.similarity
    if similarity:
        nodes = record.lake.read("nodes", version=record.outputs["nodes"]).where(F.col("ds") == F.lit(ds))
        similar = similar_pairs(nodes, first_seen(events, ids), similarity, config.seed)
        moments = moments.unionByName(similarity_moments(similar)) if similar is not None else moments
    instants = sorted({window.as_of for window in night_windows(record.lake, config, ds)})
    rules = EdgeRules(
        ds=ds,
        instants=tuple(instants),
        half_life_days=config.graph.half_life_days,
        top_similar=similarity.top if similarity else 0,
        max_neighbours=config.graph.max_neighbours,
    )
    record.details["windows"] = len(instants)
    record.write_from_tasks(("edges", "adjacency"), moments.repartition("edge_type", "src"), rules.tables)


if __name__ == "__main__":
    main(run)
