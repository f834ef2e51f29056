"""Interest vectors: what a node is about, as of an instant, from the graph of its past.

First night, per instant in time order: A = log1p of the summed weights of the interaction edges between
users, queries and items (both ways), S = D^-e A D^-e with D the row sums of A, and a node's vector is its
row of X |L|^1/2 for the d eigenpairs (X, L) of S with the largest |L|, scaled to unit length. Found by
subspace iteration (Halko, Martinsson, Tropp 2011), started from the vectors of the instant before. The
paper does not say what its interest vectors are at the start; this choice is ours (measured on the Last.fm
tags: plain dot products of these vectors are a strong baseline).

Later nights: the last published model's node vectors, carried over new events (``carried_vectors``; ours
too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.floating]

OVERSAMPLING = 8
COLD_ITERATIONS = 24
WARM_ITERATIONS = 6


@dataclass(frozen=True)
class Basis:
    """Eigenvectors of an instant, one row per node, and the vectors made of them: what the next one starts
    from."""

    eigenvectors_NK: Array
    vectors_ND: Array


def adjacency_matrix(
    num_nodes: int, rows: NDArray[np.integer], columns: NDArray[np.integer], weights: Array
) -> sp.csr_matrix:
    """Symmetric [N, N] matrix of log1p(weight) from one direction of the edges."""
    half = sp.coo_matrix(
        (np.log1p(weights.astype(np.float64)), (rows, columns)), shape=(num_nodes, num_nodes)
    )
    return (half + half.T).tocsr()


def normalised(adjacency: sp.csr_matrix, exponent: float) -> sp.csr_matrix:
    """D^-e A D^-e, rows of nodes without an edge staying zero."""
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = np.zeros_like(degree)
    scale[degree > 0] = degree[degree > 0] ** -exponent
    return (sp.diags(scale) @ adjacency @ sp.diags(scale)).tocsr()


def spectral_vectors(matrix: sp.csr_matrix, dim: int, seed: int, before: Basis | None) -> Basis:
    """Vectors [N, dim] as the module says (not yet of unit length), in the coordinates of ``before`` if
    given.

    Deterministic: fixed start and number of iterations, one BLAS thread. Where there are fewer than ``dim``
    eigenpairs the last coordinates are zero.
    """
    with threadpool_limits(1):
        num_nodes = matrix.shape[0]
        width = min(dim + OVERSAMPLING, num_nodes)
        start = np.random.Generator(np.random.Philox(seed)).standard_normal((num_nodes, width))
        if before is not None:
            known = before.eigenvectors_NK
            start[: len(known), : known.shape[1]] = known
        block = _orthonormal(matrix @ start)
        for _ in range(WARM_ITERATIONS if before is not None else COLD_ITERATIONS):
            block = _orthonormal(matrix @ block)
        values, rotation = np.linalg.eigh(block.T @ (matrix @ block))
        order = np.argsort(-np.abs(values), kind="stable")
        eigenvectors = block @ rotation[:, order]
        eigenvectors *= np.where(eigenvectors.sum(axis=0) < 0, -1.0, 1.0)
        vectors = np.zeros((num_nodes, dim))
        kept = min(dim, width)
        vectors[:, :kept] = eigenvectors[:, :kept] * np.sqrt(np.abs(values[order][:kept]))
        if before is not None:
            vectors = vectors @ procrustes(vectors, before.vectors_ND)
    return Basis(eigenvectors, vectors)


def _orthonormal(block_NK: Array) -> Array:
    return np.linalg.qr(block_NK)[0]


def procrustes(vectors_ND: Array, onto_ND: Array) -> Array:
    """The orthogonal [D, D] matrix R that makes |V R - W| least (Schoenemann 1966), over the nodes of
    both."""
    shared = min(len(vectors_ND), len(onto_ND))
    left, _, right = np.linalg.svd(vectors_ND[:shared].T @ onto_ND[:shared])
    return left @ right


def carried_vectors(known_ND: Array, neighbours: sp.csr_matrix) -> Array:
    """v_n = h_n + sum_j w_nj h_j / sum_j w_nj, j over the neighbours of n that have a vector h_j (rows of
    zeros have none). So a new node gets a vector from its neighbours, and a known one moves with fresh
    events. Ours."""
    known = (np.abs(known_ND).sum(axis=1) > 0).astype(np.float64)
    total = neighbours @ known
    mean_ND = (neighbours @ known_ND) / np.where(total > 0, total, 1.0)[:, None]
    return known_ND + mean_ND


def unit_rows(vectors_ND: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows scaled to unit length, and their lengths before; rows of zeros stay."""
    norms = np.linalg.norm(vectors_ND, axis=1)
    units = vectors_ND / np.where(norms > 0, norms, 1.0)[:, None]
    return units.astype(np.float32), norms.astype(np.float32)


def offsets(counts: Sequence[int]) -> list[int]:
    """Where each node type starts when all nodes are numbered through; the last entry is their number."""
    return [0, *np.cumsum(counts).tolist()]
