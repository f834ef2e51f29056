"""The graph -> what each node's surroundings are like: table ``node_distributions``. No label is looked at."""

from __future__ import annotations

from datetime import date

from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.distribution.build import distribute
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write table ``node_distributions``: a row a node of the night's graph."""
    with recorded(lake, config, ds, "build_node_distribution") as record:
        night = F.col("ds") == F.lit(ds)
        nodes, edges = (record.read(table).where(night) for table in ("graph_nodes", "graph_edges"))
        record.rows_in = nodes.count()
        with scratch_folder(lake.scratch(f"{record.run.step}/{record.run.run_id}")) as folder:
            features = nodes.select("node", "features")
            found = distribute(lake.spark, edges, features, record.rows_in, config.distribution, folder)
            record.write_from_tasks(["node_distributions"], found.tasks, found.make(ds))
    return record.result


if __name__ == "__main__":
    main(run, "node_labels")
