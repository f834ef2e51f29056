"""Probabilities of nodes -> rows of ``node_predictions``: of all at once, or by Spark's tasks for graphs of any size.

Legend of shape suffixes: M some nodes, C labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.metrics.classification import Floats
from roilake.pipelines.node_labels.tables import NODE_PREDICTIONS
from roilake.pipelines.node_labels.training.inputs import Graph
from roilake.pipelines.node_labels.training.night import Trained
from roilake.training.context import determinism, threads

NODE = ("node", "node_type", "key", "label", "split")
"""Of ``graph_nodes``, what predictions are made of."""
_MAP = pa.map_(pa.string(), pa.float64())


def predictions(nodes: pa.Table, classes: tuple[str, ...], likely_MC: Floats, model: str, ds: date) -> pa.Table:
    """Rows of ``node_predictions``; of equally probable labels the first is given."""
    best_M = likely_MC.argmax(1)
    log_MC = np.log(np.where(likely_MC > 0, likely_MC, 1.0))
    columns = {
        "ds": pa.repeat(pa.scalar(ds), len(best_M)),
        **{name: nodes[name] for name in ("node_type", "key", "split")},
        "label": pa.array(np.array(classes, dtype=object)[best_M], pa.string()),
        "probability": likely_MC[np.arange(len(best_M)), best_M],
        "probabilities": pa.array([list(zip(classes, row, strict=True)) for row in likely_MC.tolist()], _MAP),
        "entropy": -(likely_MC * log_MC).sum(1),
        "known": nodes["label"],
        "model": pa.repeat(model, len(best_M)),
    }
    schema = NODE_PREDICTIONS.arrow_schema
    return pa.table([columns[name] for name in schema.names], schema=schema)


def predictions_by_tasks(
    nodes: DataFrame, opens: Callable[[], Graph], trained: Trained, model: str, ds: date
) -> DataFrame:
    """``predictions`` of rows that have ``NODE``. Each task opens graph and model anew, and holds some rows at a
    time."""
    score = partial(_score, opens=opens, trained=trained, name=model, ds=ds)
    return nodes.select(*NODE).mapInArrow(score, NODE_PREDICTIONS.spark_schema)


def _score(
    batches: Iterable[pa.RecordBatch], opens: Callable[[], Graph], trained: Trained, name: str, ds: date
) -> Iterator[pa.RecordBatch]:
    with threads(1), determinism("strict"):
        graph = opens()
        model = trained.model(graph)
        for batch in batches:
            nodes = pa.Table.from_batches([batch])
            likely_MC = trained.probabilities(model, graph, batch["node"].to_numpy())
            yield from predictions(nodes, trained.classes, likely_MC, name, ds).combine_chunks().to_batches()


Counts = dict[str, dict[str, int]]


def counted(rows: pa.Table, sure: float) -> Counts:
    """How many nodes got each label, those whose own nobody knows, and those of them that are ``sure``."""
    unknown = rows.filter(pc.is_null(rows["known"]))
    certain = unknown.filter(pc.greater_equal(unknown["probability"], sure))
    parts = {"all": rows, "unknown": unknown, "sure": certain}
    return {
        name: {row["values"]: row["counts"] for row in part["label"].value_counts().to_pylist()}
        for name, part in parts.items()
    }


def counted_by_tasks(rows: DataFrame, sure: float) -> Counts:
    """``counted`` of a table that no process holds."""
    unknown = F.col("known").isNull()
    sums = [F.count(F.lit(1)), F.count_if(unknown), F.count_if(unknown & (F.col("probability") >= sure))]
    names = ("all", "unknown", "sure")
    found = rows.groupBy("label").agg(*(each.alias(name) for name, each in zip(names, sums, strict=True))).collect()
    return {name: {row["label"]: row[name] for row in sorted(found) if row[name]} for name in names}
