"""Evaluate every model on the nodes whose label it has not seen; write metrics with intervals, and who serves."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.metrics.champion import champion_of
from roilake.metrics.classification import Floats
from roilake.metrics.slices import ALL
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.evaluation.champion import choose_champion
from roilake.pipelines.node_labels.evaluation.measures import SPLITS, Known, measure, slices_of
from roilake.pipelines.node_labels.graph.homophily import homophily
from roilake.pipelines.node_labels.training.inputs import SEEN, all_labels, label_numbers, read_nodes
from roilake.pipelines.node_labels.training.night import Trained, open_graph
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write tables ``champions`` and ``metrics``."""
    scratch = lake.scratch("evaluate_node_labels")
    with recorded(lake, config, ds, "evaluate_node_labels") as record, scratch_folder(scratch) as folder:
        nodes = read_nodes(record)
        record.rows_in = nodes.num_rows
        rows = record.rows("models").to_pylist()
        trained = {row["name"]: Trained.read(Path(lake.files.local(row["path"]))) for row in rows}
        graph = open_graph(record, config, nodes.num_rows, next(iter(trained.values())).trees, folder)
        known = _known(record, nodes, graph.neighbours)
        node_M = np.concatenate([theirs.node_N for theirs in known.values()])
        bounds = np.cumsum([len(theirs.node_N) for theirs in known.values()])[:-1]
        likely: dict[str, dict[str, Floats]] = {split: {} for split in known}
        for name, each in trained.items():
            found_MC = each.probabilities(each.model(graph), graph, node_M)
            for split, part_NC in zip(known, np.split(found_MC, bounds), strict=True):
                likely[split][name] = part_NC
            record.progress(f"{name}: labels of {len(node_M):,} nodes")
        last = lake.publication(config.pipeline, before=ds)
        before = champion_of(lake, last) if last else None
        champion = choose_champion(known["validation"], likely["validation"], config, before, ds)
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
