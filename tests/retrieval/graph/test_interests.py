"""Interest vectors are the leading eigenvectors, repeatable, and keep the meaning of their coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from roilake.pipelines.retrieval.graph import blocks as blocks_module
from roilake.pipelines.retrieval.graph.blocks import Blocks, in_process, lay_out
from roilake.pipelines.retrieval.graph.interests import Array, carry, fit, normalise, rotation, unit_rows
from tests.retrieval.graph import in_memory
from tests.retrieval.graph.in_memory import adjacency_matrix, normalised, spectral_vectors

EXACT = 1e-4
NODES = 120


def graph(seed: int, num_edges: int = 900) -> sp.csr_matrix:
    """A random graph with three blocks, so that a few eigenvalues stand out."""
    draw = np.random.default_rng(seed)
    block = draw.integers(0, 3, num_edges)
    rows, columns = (block * 40 + draw.integers(0, 20, num_edges), block * 40 + draw.integers(20, 40, num_edges))
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


def test_vectors_are_the_eigenpairs_with_the_largest_values() -> None:
    matrix = graph(0)
    values, vectors = np.linalg.eigh(matrix.toarray())
    assert values[0] < -values[-7]  # the blocks are bipartite: a negative value is among the largest in size
    found = spectral_vectors(matrix, 6, seed=1, before=None, tolerance=EXACT)
    assert np.allclose(angles(found, vectors[:, -6:]), 1.0, atol=1e-6)
    assert np.allclose((found**2).sum(axis=0), values[:-7:-1], rtol=1e-4)
    assert np.allclose(found.T @ found, np.diag(values[:-7:-1]), atol=1e-4)


def test_as_usual_they_are_nearly_those() -> None:
    matrix = graph(0)
    found = spectral_vectors(matrix, 6, seed=1, before=None)
    assert (angles(found, np.linalg.eigh(matrix.toarray())[1][:, -6:]) > 0.995).all()


def test_the_same_graph_and_seed_give_the_same_bits() -> None:
    first, second = (spectral_vectors(graph(0), 8, seed=3, before=None) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_later_vectors_keep_the_coordinates_of_the_ones_before() -> None:
    before = spectral_vectors(graph(0), 6, seed=1, before=None, tolerance=EXACT)
    later = graph(0) + 0.05 * graph(1)
    alone, turned = (spectral_vectors(later, 6, seed=1, before=b, tolerance=EXACT) for b in (None, before))
    assert np.allclose(turned @ turned.T, alone @ alone.T, atol=1e-4)
    moved = np.linalg.norm(turned - before)
    assert moved < 0.3 * np.linalg.norm(before)
    assert moved <= np.linalg.norm(alone - before) + 1e-9


def test_a_rotation_is_orthogonal_and_undoes_another() -> None:
    draw = np.random.default_rng(0)
    vectors, other = draw.standard_normal((50, 5)), np.linalg.qr(draw.standard_normal((5, 5)))[0]
    found = rotation(vectors.T @ (vectors @ other))
    assert np.allclose(found, other) and np.allclose(found.T @ found, np.eye(5))


@pytest.mark.parametrize("num_nodes", [1, 3])
def test_fewer_nodes_than_coordinates_leave_zeros(num_nodes: int) -> None:
    matrix = sp.csr_matrix(np.ones((num_nodes, num_nodes)) - np.eye(num_nodes))
    vectors = spectral_vectors(matrix, 8, seed=0, before=None)
    assert vectors.shape == (num_nodes, 8) and np.isfinite(vectors).all()
    assert not vectors[:, num_nodes:].any()


STARTS = {"user": 0, "query": 40, "item": 50}


def written(folder: Path, files: int, edges: int = 500, cut: int = 6) -> tuple[list[str], sp.csr_matrix]:
    """Neighbour lists of a random user-item graph in ``files`` files, and the matrix that they stand for: pairs that at
    least one end lists."""
    draw = np.random.default_rng(5)
    pairs = np.unique(np.stack([draw.integers(0, 40, edges), draw.integers(0, 70, edges)]), axis=1)
    weights = draw.random(pairs.shape[1]).astype(np.float32) + 0.1
    listed = np.zeros(pairs.shape[1], bool)
    rows = []
    for edge_type, (src, dst) in {"user_item": pairs, "item_user": pairs[::-1]}.items():
        for node in np.unique(src):
            mine = np.flatnonzero(src == node)
            best = mine[np.argsort(-weights[mine], kind="stable")][:cut]
            listed[best] = True
            lists = {"neighbours": dst[best].astype(np.int32), "weights": weights[best]}
            rows.append({"edge_type": edge_type, "src": int(node), **lists})
    rows.append({"edge_type": "item_item", "src": 1, "neighbours": [2], "weights": [9.0]})  # no interaction
    paths = [str(folder / f"{number}.parquet") for number in range(files)]
    types = {"neighbours": pa.list_(pa.int32()), "weights": pa.list_(pa.float32())}
    for number, path in enumerate(paths):
        table = pa.Table.from_pylist(rows[number::files])
        for name, kind in types.items():
            table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
        pq.write_table(table, path)
    user, item = pairs[:, listed]
    return paths, adjacency_matrix(NODES, user, item + STARTS["item"], weights[listed])


@pytest.mark.parametrize("rows", [16, 1 << 16])
def test_the_matrix_of_lists_is_that_of_the_pairs_that_either_end_lists(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (blocks_module, in_memory):
        monkeypatch.setattr(module, "ROWS", rows)
    files, expected = written(tmp_path, 3)
    blocks = Blocks(tmp_path / "work", NODES)
    lay_out(blocks, in_process, files, STARTS, ("user_item", "user_query"))
    normalise(blocks, in_process, 0.25)
    for block in blocks.numbers:
        blocks.save("identity", block, np.eye(NODES, dtype=np.float32)[block * rows : (block + 1) * rows])
    found = np.concatenate([blocks.product("values", "identity", block) for block in blocks.numbers])
    assert len(blocks.numbers) == (8 if rows == 16 else 1)
    np.testing.assert_allclose(found, normalised(expected, 0.25).toarray(), rtol=1e-5)
    assert not list(blocks.folder.glob("entries*"))


def test_neither_files_nor_the_order_of_tasks_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks_module, in_memory):
        monkeypatch.setattr(module, "ROWS", 32)
    found = []
    for number, order in ((1, 1), (4, -1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        blocks = Blocks(folder / "work", NODES)

        def run(work, inputs, order=order):  # type: ignore[no-untyped-def]
            return [work(each) for each in list(inputs)[::order]][::order]

        lay_out(blocks, run, written(folder, number)[0], STARTS, ("user_item",))
        normalise(blocks, run, 0.25)
        fit(blocks, run, 6, 1, None, "first")
        fit(blocks, run, 6, 1, "first", "second")
        found.append([blocks.load(name, block).tobytes() for name in ("first", "second") for block in blocks.numbers])
    assert found[0] == found[1]


def test_a_later_instant_finds_what_no_known_node_is_linked_to(tmp_path: Path) -> None:
    """Two users and two items that only meet each other, later, and more strongly than anyone before."""
    blocks = Blocks(tmp_path, NODES)
    first = graph(0).tolil()
    later = first.copy()
    first[:, 100:], first[100:, :] = 0, 0
    later[:, 100:], later[100:, :] = 0, 0
    later[100:102, 102:104] = later[102:104, 100:102] = 20.0
    for name, before, matrix in (("first", None, first), ("second", "first", later)):
        in_memory.save_rows(blocks, 0, sp.csr_matrix(matrix), "values")
        fit(blocks, in_process, 6, 1, before, name)
    vectors = blocks.load("second", 0)
    assert np.linalg.norm(vectors[100:104] @ vectors[100:104].T - 10.0) < 0.1


def test_carried_vectors_give_new_nodes_the_mean_of_their_known_neighbours(tmp_path: Path) -> None:
    known = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    weights = np.array([[0, 0, 0, 0], [2.0, 0, 0, 0], [3.0, 1.0, 0, 5.0], [0, 0, 0, 0]], np.float32)
    blocks = Blocks(tmp_path, 4)
    blocks.save("known", 0, known)
    in_memory.save_rows(blocks, 0, sp.csr_matrix(weights), "weights")
    carry(blocks, in_process, "known", "carried")
    found = blocks.load("carried", 0)
    assert np.allclose(found, [[1, 0], [1, 1], [0.75, 0.25], [0, 0]])
    units, norms = unit_rows(found)
    assert np.allclose(np.linalg.norm(units, axis=1), [1, 1, 1, 0]) and np.allclose(norms[1], np.sqrt(2))
