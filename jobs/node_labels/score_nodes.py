"""Give every node of the labelled type the label that the serving model finds most probable."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.compute as pc
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.metrics.champion import find_champion
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.scoring.predictions import (
    NODE,
    Counts,
    counted,
    counted_by_tasks,
    predictions,
    predictions_by_tasks,
)
from roilake.pipelines.node_labels.training.inputs import read_graph, read_nodes
from roilake.pipelines.node_labels.training.night import Trained, lay_out
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write table ``node_predictions``."""
    with recorded(lake, config, ds, "score_nodes") as record:
        versions = {table: record.pin(table) for table in ("models", "champions")}
        champion = find_champion(lake, config.pipeline, ds, versions, config.default_model).model
        (row,) = record.rows("models", name=champion).to_pylist()
        trained = Trained.read(Path(lake.files.local(row["path"])))
        score = _score_by_tasks if trained.trees else _score_here
        counts = score(record, config, trained, f"{champion}@{ds}")
        record.details |= {"model": champion, "labels": counts}
    return record.result


def _score_here(record: Recorder, config: NodeLabelsConfig, trained: Trained, name: str) -> Counts:
    """All nodes of a graph that this process holds."""
    graph, nodes = read_graph(record), read_nodes(record, NODE)
    sought = nodes.filter(pc.field("split") != "other")
    record.rows_in = sought.num_rows
    likely_NC = trained.probabilities(trained.model(graph), graph, sought["node"].to_numpy())
    rows = predictions(sought, trained.classes, likely_NC, name, record.run.ds)
    record.write("node_predictions", rows)
    return counted(rows, config.scoring.sure)


def _score_by_tasks(record: Recorder, config: NodeLabelsConfig, trained: Trained, name: str) -> Counts:
    """All nodes of a graph that lies on disk; no process holds them."""
    lake, ds = record.lake, record.run.ds
    nodes = record.read("graph_nodes").where(F.col("ds") == F.lit(ds))
    sought = nodes.where("split != 'other'").repartition(4 * lake.spark.sparkContext.defaultParallelism, "node")
    record.rows_in = sought.count()
    with scratch_folder(lake.scratch("score_nodes")) as folder:
        opens = lay_out(record, config, nodes.count(), trained.trees, folder)
        record.write("node_predictions", predictions_by_tasks(sought, opens, trained, name, ds))
    written = lake.read("node_predictions", version=record.outputs["node_predictions"])
    return counted_by_tasks(written.where(F.col("ds") == F.lit(ds)), config.scoring.sure)


if __name__ == "__main__":
    main(run, "node_labels")
