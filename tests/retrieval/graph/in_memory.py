"""Interest vectors of a graph in memory, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from roilake.pipelines.retrieval.graph.blocks import ROWS, Blocks, in_process, save_rows
from roilake.pipelines.retrieval.graph.interests import TOLERANCE, fit, scale_of

Array = NDArray[np.floating]


def spectral_vectors(
    matrix: sp.csr_matrix, dim: int, seed: int, before: Array | None, tolerance: float = TOLERANCE
) -> Array:
    """``fit`` for a symmetric matrix S [N, N] in memory: vectors [N, dim], turned onto ``before`` if given."""
    with TemporaryDirectory(prefix="roilake-vectors-") as folder:
        blocks = Blocks(Path(folder), matrix.shape[0])
        for block in blocks.numbers:
            rows = matrix[block * ROWS : (block + 1) * ROWS]
            save_rows(blocks, block, rows, "values")
            if before is not None:
                blocks.save("before", block, before[block * ROWS : (block + 1) * ROWS])
        fit(blocks, in_process, dim, seed, None if before is None else "before", "found", tolerance)
        return np.concatenate([blocks.load("found", block) for block in blocks.numbers])


def adjacency_matrix(
    num_nodes: int, rows: NDArray[np.integer], columns: NDArray[np.integer], weights: Array
) -> sp.csr_matrix:
    """Symmetric [N, N] matrix of log1p(weight) from one direction of the edges, in memory."""
    half = sp.coo_matrix((np.log1p(weights.astype(np.float64)), (rows, columns)), shape=(num_nodes, num_nodes))
    return (half + half.T).tocsr()


def normalised(adjacency: sp.csr_matrix, exponent: float) -> sp.csr_matrix:
    """D^-e A D^-e in memory, rows of nodes without an edge staying zero."""
    scale = sp.diags(scale_of(np.asarray(adjacency.sum(axis=1)).ravel(), exponent))
    return (scale @ adjacency @ scale).tocsr()
