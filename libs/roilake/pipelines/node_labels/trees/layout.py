"""Tables of a night's graph -> memory-mapped files, by tasks that share a disk. No process holds the graph.

Legend of shape suffixes: n rows of a task, D numbers a row has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from roilake.pipelines.node_labels.distribution.build import lay_out_graph
from roilake.pipelines.node_labels.distribution.rows import create, write
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.surroundings import COSINES
from roilake.runtime.step import Recorder

DENSE = ("topology", "position", "similarity")


def lay_out_night(record: Recorder, nodes: int, rules: DistributionRules, folder: Path) -> None:
    """The graph of the night below ``folder``, which is empty and on a disk that all tasks see: ``neighbours`` and
    ``features`` (see ``Rows``), and a file of float32, row by row, for each of ``DENSE``."""
    night = F.col("ds") == F.lit(record.run.ds)
    edges, owned, known = (
        record.read(name).where(night) for name in ("graph_edges", "graph_nodes", "node_distributions")
    )
    lay_out_graph(record.lake.spark, edges, owned.select("node", "features"), nodes, folder)
    widths = dict(zip(DENSE, (rules.landmarks, rules.anchors, COSINES), strict=True))
    for name, width in widths.items():
        create(folder / f"{name}.npy", nodes * width, np.float32)
    known.select("node", *DENSE).mapInArrow(partial(_write_rows, folder, widths), "rows long").collect()


def _write_rows(folder: Path, widths: Mapping[str, int], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put the rows of a task where they belong: those that follow one another, as the table's do, in one go."""
    for batch in filter(len, batches):
        node_n = batch["node"].to_numpy()
        bounds = [0, *(np.flatnonzero(np.diff(node_n) != 1) + 1).tolist(), len(node_n)]
        for name, width in widths.items():
            values_nD = batch[name].flatten().to_numpy().reshape(-1, width)
            for start, end in pairwise(bounds):
                write(folder / f"{name}.npy", int(node_n[start]) * width, values_nD[start:end].ravel())
        yield pa.RecordBatch.from_pydict({"rows": [len(node_n)]})
