"""What surrounds each node of a graph, without labels: a reconstruction ("MWGNN-R") of the node local distributions of
Meta-Weight Graph Neural Network (arXiv 2203.10280), whose equations are not public.

**topology** [M landmarks]: exp(-D(i, l) / median D), D(i, l) = sum over k = 1, 2 of DTW(s_k(i), s_k(l)) with the cost
of struc2vec (Ribeiro et al. 2017, OPT1), ((max(a, b) + 0.5) / (min(a, b) + 0.5) - 1) max(w_a, w_b); ``sequences``
says more. s_1(i) are the degrees of i's neighbours; s_2(i) those of the ends of all walks of length 2, each as often as
it is reached, those back to i among them. So s_2(i) is the sum of the neighbours' histograms s_1, in time linear in
edges. The set of nodes at *exactly* two hops, which struc2vec takes, is not: a hub of degree d alone makes d^2 pairs.

**position** [S anchors]: 1 / (1 + hops), 0 for one that is not reached in so many levels.

**similarity** [C bins]: shares of i's neighbours by |A and B| / sqrt(|A| |B|) of feature sets.

All arrays by node lie in flat files; a range of nodes reads what it needs of the others by memory-mapping. No step
compares all pairs, and each is linear in edges or in nodes times landmarks.

Legend of shape suffixes: N nodes (of a range), E edges (each both ways), M landmarks, S anchors, C bins of cosines, H
two hops, B bins of degrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.pipelines.node_labels.distribution import kernel
from roilake.pipelines.node_labels.distribution.kernel import Floats
from roilake.pipelines.node_labels.distribution.rows import Rows, load
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.sequences import BINS, distances, landmarks_of

COSINES = 8
_BLOCK = 4096
"""Nodes whose histograms are held at a time."""
Range = tuple[int, int]


@dataclass(frozen=True)
class Distribution:
    """Of the nodes of a range, in order."""

    degree_N: NDArray[np.int32]
    topology_NM: Floats
    position_NS: Floats
    similarity_NC: Floats


@dataclass(frozen=True)
class Surroundings:
    """All that the rows of any range are made of. ``folder`` holds ``neighbours`` and ``features`` (see ``Rows``),
    pairs of bin and count of each node's neighbours, and the masks of ``rounds`` of the search from the anchors."""

    folder: Path
    rules: DistributionRules
    rounds: int
    landmarks_MHB: NDArray[np.int64]  # counts; zeros beyond as many as the graph has
    scale: float  # the median

    def rows(self, first: int, last: int) -> Distribution:
        """Those of the nodes ``first <= i < last``."""
        graph, features = (Rows.open(self.folder / name) for name in ("neighbours", "features"))
        masks = [load(mask_file(self.folder, level))[first:last] for level in range(self.rounds)]
        return Distribution(
            np.diff(graph.offsets_N1[first : last + 1]).astype(np.int32),
            self._topology(graph, first, last),
            kernel.nearness(np.stack(masks), self.rules.anchors),
            kernel.compare_features(graph, features, COSINES, first, last),
        )

    def _topology(self, graph: Rows, first: int, last: int) -> Floats:
        pairs_E, landmarks = load(self.folder / "pairs.npy"), landmarks_of(self.landmarks_MHB)
        topology_NM = np.empty((last - first, self.rules.landmarks), np.float32)
        for start, end in cut(first, last, _BLOCK):
            counts = kernel.count_walks(graph, pairs_E, BINS, np.arange(start, end, dtype=np.int32))
            far = distances(counts, landmarks)[:, : self.rules.landmarks].astype(np.float64)
            topology_NM[start - first : end - first] = np.exp(far / -self.scale)
        return topology_NM

    def table(self, first: int, last: int, ds: date) -> pa.Table:
        """``rows`` as those of table ``node_distributions``."""
        rows = self.rows(first, last)
        columns = {
            "ds": pa.repeat(pa.scalar(ds, pa.date32()), last - first),
            "node": np.arange(first, last, dtype=np.int32),
            "degree": rows.degree_N,
            "topology": _as_lists(rows.topology_NM),
            "position": _as_lists(rows.position_NS),
            "similarity": _as_lists(rows.similarity_NC),
        }
        return pa.table(columns)


def mask_file(folder: Path, level: int) -> Path:
    """What the search has reached after so many levels, a bit for each anchor."""
    return folder / f"mask-{level}.npy"


def cut(first: int, last: int, size: int) -> Iterator[Range]:
    """Ranges of up to so many nodes."""
    yield from ((start, min(start + size, last)) for start in range(first, last, size))


def _as_lists(array_ND: Floats) -> pa.ListArray:
    offsets = np.arange(0, array_ND.size + 1, array_ND.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, array_ND.ravel())
