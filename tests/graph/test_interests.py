"""Interest vectors are the leading eigenvectors, repeatable, and keep the meaning of their coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from roilake.graph import interests
from roilake.graph.interests import (
    Array,
    adjacency_matrix,
    carried_vectors,
    normalised,
    procrustes,
    spectral_vectors,
    unit_rows,
)

NODES = 120


def graph(seed: int, num_edges: int = 900) -> sp.csr_matrix:
    """A random graph with three blocks, so that a few eigenvalues stand out."""
    draw = np.random.default_rng(seed)
    block = draw.integers(0, 3, num_edges)
    rows, columns = (
        block * 40 + draw.integers(0, 20, num_edges),
        block * 40 + draw.integers(20, 40, num_edges),
    )
    return normalised(adjacency_matrix(NODES, rows, columns, draw.random(num_edges) + 0.5), 0.25)


def angles(a_ND: Array, b_ND: Array) -> Array:
    """Cosines of the principal angles between two column spaces."""
    return np.linalg.svd(np.linalg.qr(a_ND)[0].T @ np.linalg.qr(b_ND)[0], compute_uv=False)


def test_adjacency_is_symmetric_and_log_scaled() -> None:
    matrix = adjacency_matrix(3, np.array([0, 0]), np.array([1, 2]), np.array([1.0, 3.0], np.float32))
    assert np.allclose(matrix.toarray(), np.log1p([[0, 1, 3], [1, 0, 0], [3, 0, 0]]))
    scaled = normalised(matrix, 0.5).toarray()
    degree = matrix.toarray().sum(axis=1)
    assert np.allclose(scaled, matrix.toarray() / np.sqrt(np.outer(degree, degree)))


@pytest.mark.parametrize("dense", [True, False])
def test_vectors_are_the_eigenpairs_with_the_largest_values(
    dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interests, "_DENSE", NODES if dense else 0)
    matrix = graph(0)
    values, vectors = np.linalg.eigh(matrix.toarray())
    assert values[0] < -values[-7]  # the blocks are bipartite: a negative value is among the largest in size
    found = spectral_vectors(matrix, 6, seed=1, before=None)
    assert np.allclose(angles(found, vectors[:, -6:]), 1.0, atol=1e-6)
    assert np.allclose((found**2).sum(axis=0), values[:-7:-1], rtol=1e-4)
    assert np.allclose(found.T @ found, np.diag(values[:-7:-1]), atol=1e-4)


def test_the_same_graph_and_seed_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interests, "_DENSE", 0)
    first, second = (spectral_vectors(graph(0), 8, seed=3, before=None) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_later_vectors_keep_the_coordinates_of_the_ones_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interests, "_DENSE", 0)
    before = spectral_vectors(graph(0), 6, seed=1, before=None)
    later = graph(0) + 0.05 * graph(1)
    alone, turned = (spectral_vectors(later, 6, seed=1, before=b) for b in (None, before))
    assert np.allclose(turned @ turned.T, alone @ alone.T, atol=1e-6)
    moved = np.linalg.norm(turned - before)
    assert moved < 0.3 * np.linalg.norm(before)
    assert moved <= np.linalg.norm(alone - before) + 1e-9


def test_procrustes_is_orthogonal_and_undoes_a_rotation() -> None:
    draw = np.random.default_rng(0)
    vectors, rotation = draw.standard_normal((50, 5)), np.linalg.qr(draw.standard_normal((5, 5)))[0]
    found = procrustes(vectors, vectors @ rotation)
    assert np.allclose(found, rotation) and np.allclose(found.T @ found, np.eye(5))


@pytest.mark.parametrize("num_nodes", [1, 3])
def test_fewer_nodes_than_coordinates_leave_zeros(num_nodes: int) -> None:
    matrix = sp.csr_matrix(np.ones((num_nodes, num_nodes)) - np.eye(num_nodes))
    vectors = spectral_vectors(matrix, 8, seed=0, before=None)
    assert vectors.shape == (num_nodes, 8) and np.isfinite(vectors).all()
    assert not vectors[:, num_nodes:].any()


def test_carried_vectors_give_new_nodes_the_mean_of_their_known_neighbours() -> None:
    known = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    weights = sp.csr_matrix(np.array([[0, 0, 0, 0], [2.0, 0, 0, 0], [3.0, 1.0, 0, 5.0], [0, 0, 0, 0]]))
    found = carried_vectors(known, weights)
    assert np.allclose(found, [[1, 0], [1, 1], [0.75, 0.25], [0, 0]])
    units, norms = unit_rows(found)
    assert np.allclose(np.linalg.norm(units, axis=1), [1, 1, 1, 0]) and np.allclose(norms[1], np.sqrt(2))
