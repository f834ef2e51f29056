"""Give every node of the labelled type the label that the serving model finds most probable."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roilake.lake import TABLES, Lake
from roilake.metrics.champion import find_champion
from roilake.metrics.classification import Floats
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.training.inputs import read_graph
from roilake.pipelines.node_labels.training.night import probabilities
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write table ``node_predictions``."""
    with recorded(lake, config, ds, "score_nodes") as record:
        graph, nodes = read_graph(record)
        versions = {table: record.pin(table) for table in ("models", "champions")}
        champion = find_champion(lake, config.pipeline, ds, versions, config.default_model).model
        (model,) = record.rows("models", name=champion).to_pylist()
        classes, likely_NC = probabilities(Path(lake.files.local(model["path"])), graph)
        sought = pc.not_equal(nodes["split"], "other")
        record.rows_in = pc.sum(sought).as_py()
        rows = predictions(nodes.filter(sought), classes, likely_NC[sought.to_numpy()], f"{champion}@{ds}", ds)
        record.write("node_predictions", rows)
        record.details |= {"model": champion, "labels": counted(rows, config.scoring.sure)}
    return record.result


def predictions(nodes: pa.Table, classes: tuple[str, ...], likely_NC: Floats, model: str, ds: date) -> pa.Table:
    """Rows of ``node_predictions``; of equally probable labels the first is given."""
    best_N = likely_NC.argmax(1)
    log_NC = np.log(np.where(likely_NC > 0, likely_NC, 1.0))
    columns = {
        "ds": pa.repeat(pa.scalar(ds), len(best_N)),
        **{name: nodes[name] for name in ("node_type", "key", "split")},
        "label": pa.array(np.array(classes, dtype=object)[best_N], pa.string()),
        "probability": likely_NC[np.arange(len(best_N)), best_N],
        "probabilities": pa.array([list(zip(classes, row, strict=True)) for row in likely_NC.tolist()], _MAP),
        "entropy": -(likely_NC * log_NC).sum(1),
        "known": nodes["label"],
        "model": pa.repeat(model, len(best_N)),
    }
    schema = TABLES["node_predictions"].arrow_schema
    return pa.table([columns[name] for name in schema.names], schema=schema)


_MAP = pa.map_(pa.string(), pa.float64())


def counted(rows: pa.Table, sure: float) -> dict[str, dict[str, int]]:
    """How many nodes got each label, those whose own nobody knows, and those of them that are ``sure``."""
    unknown = rows.filter(pc.is_null(rows["known"]))
    certain = unknown.filter(pc.greater_equal(unknown["probability"], sure))
    parts = {"all": rows, "unknown": unknown, "sure": certain}
    return {
        name: {row["values"]: row["counts"] for row in part["label"].value_counts().to_pylist()}
        for name, part in parts.items()
    }


if __name__ == "__main__":
    main(run, "node_labels")
