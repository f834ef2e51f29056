"""Evaluate every model on the nodes whose label it has not seen; write metrics with intervals, and who serves."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from roilake.lake import Lake
from roilake.metrics.champion import champion_of
from roilake.metrics.classification import Floats
from roilake.metrics.slices import ALL
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.evaluation.champion import choose_champion
from roilake.pipelines.node_labels.evaluation.measures import SPLITS, Known, measure, slices_of
from roilake.pipelines.node_labels.graph.homophily import homophily
from roilake.pipelines.node_labels.training.inputs import SEEN, all_labels, label_numbers, read_graph
from roilake.pipelines.node_labels.training.night import probabilities
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write tables ``champions`` and ``metrics``."""
    with recorded(lake, config, ds, "evaluate_node_labels") as record:
        graph, nodes = read_graph(record)
        record.rows_in = nodes.num_rows
        likely: dict[str, Floats] = {}
        for row in record.rows("models").to_pylist():
            _, likely[row["name"]] = probabilities(Path(lake.files.local(row["path"])), graph)
            record.progress(f"{row['name']}: labels of {nodes.num_rows:,} nodes")
        source_E, target_E = graph.edge_2E.numpy()
        known = _known(record, nodes, Rows.of(target_E, source_E, graph.nodes))
        last = lake.publication(config.pipeline, before=ds)
        champion = choose_champion(known["validation"], likely, config, champion_of(lake, last) if last else None, ds)
        record.write("champions", champion.to_table(ds))
        settings = (champion.model, config.evaluation.bootstrap, config.seed, ds, record.run.run_id)
        record.write("metrics", measure(known, likely, *settings))
    return record.result


def _known(record: Recorder, nodes: pa.Table, neighbours: Rows) -> dict[str, Known]:
    """The nodes of each split that is evaluated. Labels that no model knows have the numbers after theirs. The mean
    share of a node's neighbours that have its label is noted."""
    split = nodes["split"].to_numpy(zero_copy_only=False)
    label_N = label_numbers(nodes, all_labels(nodes), (*SEEN, "test"))
    share_N, degree_N = homophily(neighbours, label_N), np.diff(neighbours.offsets_N1)
    record.details["homophily"] = None if np.isnan(share_N).all() else round(float(np.nanmean(share_N)), 4)
    found = {}
    for name in SPLITS:
        node_M = np.flatnonzero(split == name)
        cuts = {ALL: np.ones(len(node_M), np.bool_)}
        if name == "test":  # validation is for selection, not for reading
            cuts |= dict(slices_of(share_N[node_M], degree_N[node_M]))
        found[name] = Known(node_M, label_N[node_M], cuts)
    return found


if __name__ == "__main__":
    main(run, "node_labels")
