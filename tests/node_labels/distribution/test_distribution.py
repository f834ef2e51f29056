"""Distributions in memory against their plain definition, and what odd graphs mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roilake.errors import LakeError
from roilake.pipelines.node_labels.distribution import layout
from roilake.pipelines.node_labels.distribution.build import distribute_in_memory
from roilake.pipelines.node_labels.distribution.layout import keys_of, lay_out, spill
from roilake.pipelines.node_labels.distribution.rounds import surround
from roilake.pipelines.node_labels.distribution.rules import DistributionRules
from roilake.pipelines.node_labels.distribution.sequences import BINS, DEGREE_B, NO_BIN, bin_of, distances, landmarks_of
from roilake.pipelines.node_labels.distribution.surroundings import Distribution, cut
from tests.node_labels.distribution.reference import (
    LEAST,
    edge_array,
    feature_rows,
    random_graph,
    reference,
    sequence,
    warp,
)

FEW = DistributionRules(landmarks=5, anchors=6, levels=3, seed=7)


def of(edges: list[tuple[int, int]], features: list[list[int]], rules: DistributionRules = FEW) -> Distribution:
    return distribute_in_memory(edge_array(edges), feature_rows(features), len(features), rules)


def assert_equal(one: Distribution, two: Distribution) -> None:
    for field in fields(Distribution):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), field.name)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Loops, doubles, nodes without edges or features among them."""
    nodes = draw(st.integers(1, 20))
    ends = st.integers(0, nodes - 1)
    features = st.lists(st.integers(0, 6), max_size=5)
    return draw(st.lists(st.tuples(ends, ends), max_size=40)), draw(st.lists(features, min_size=nodes, max_size=nodes))


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(1, 5), st.integers(0, 3))
def test_is_what_the_definition_says(
    graph: tuple[list[tuple[int, int]], list[list[int]]], levels: int, seed: int
) -> None:
    rules = DistributionRules(landmarks=5, anchors=6, levels=levels, seed=seed)
    found, expected = of(*graph, rules), reference(*graph, rules)
    np.testing.assert_array_equal(found.degree_N, expected.degree_N)
    np.testing.assert_array_equal(found.position_NS, expected.position_NS)
    np.testing.assert_array_equal(found.similarity_NC, expected.similarity_NC)
    np.testing.assert_allclose(found.topology_NM, expected.topology_NM, rtol=2e-5, atol=1e-7)


def test_a_larger_graph_is_what_the_definition_says() -> None:
    edge_2E, features = random_graph(50, 350, seed=1)
    rules = DistributionRules(landmarks=40)  # more than 32, and no multiple of it
    found = distribute_in_memory(edge_2E, feature_rows(features), len(features), rules)
    expected = reference(edge_2E.T.tolist(), features, rules)
    np.testing.assert_allclose(found.topology_NM, expected.topology_NM, rtol=2e-5, atol=1e-7)
    np.testing.assert_array_equal(found.position_NS, expected.position_NS)
    np.testing.assert_array_equal(found.similarity_NC, expected.similarity_NC)


def test_long_sequences_warp_as_the_slow_way_does() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 10**9, (6, 2, BINS)) * (rng.random((6, 2, BINS)) < rng.random((6, 1, 1)))
    found = distances(counts, landmarks_of(counts[:4]))[:, :4]
    for i, j in np.ndindex(found.shape):
        hops = (
            warp(
                *(
                    [(DEGREE_B[b], np.log2(1 + row[b])) for b in np.flatnonzero(row)]
                    for row in (counts[i, h], counts[j, h])
                )
            )
            for h in range(2)
        )
        assert found[i, j] == pytest.approx(sum(hops), rel=1e-5)


def test_a_bin_is_a_quarter_octave_of_degrees() -> None:
    assert DEGREE_B.tolist() == LEAST
    assert bin_of(np.array([0, 1, 8, 9, 10, 2**31 - 1])).tolist() == [NO_BIN, 0, 7, 7, 8, BINS - 1]
    assert sequence([1, 9, 8, 1]) == [(1, np.log2(3)), (8, np.log2(3))]


def test_one_node_only_has_nothing_around_it() -> None:
    found = of([(0, 0)], [[1]])
    assert found.degree_N.tolist() == [0]
    assert not found.topology_NM.any() and not found.position_NS.any() and not found.similarity_NC.any()


def test_an_isolated_node_is_no_anchor_and_like_no_landmark() -> None:
    found = of([(0, 1), (2, 2)], [[], [], [3]])
    assert found.degree_N.tolist() == [1, 1, 0]
    assert not found.topology_NM[2].any() and not found.position_NS[2].any()
    assert sorted(found.position_NS[0]) == [0, 0, 0, 0, 0.5, 1]  # two anchors, though six were asked for
    assert found.topology_NM[0].tolist() == [1, 1, 0, 0, 0]  # and two landmarks, alike


def test_what_is_not_connected_is_not_reached() -> None:
    found = of([(0, 1), (2, 3)], [[]] * 4)
    for column in found.position_NS.T[:4]:
        assert sorted(column) == [0, 0, 0.5, 1]


def test_the_search_ends_with_its_levels() -> None:
    path = [(node, node + 1) for node in range(5)]
    found = of(path, [[]] * 6, DistributionRules(anchors=6, levels=2))
    assert sorted(set(found.position_NS.ravel().tolist())) == [0.0, pytest.approx(1 / 3), 0.5, 1.0]


def test_leaves_of_a_star_are_alike_and_its_hub_is_not() -> None:
    found = of([(0, leaf) for leaf in range(1, 1001)], [[]] * 1001)
    assert found.degree_N[:2].tolist() == [1000, 1]
    assert (found.topology_NM[1:] == found.topology_NM[1]).all()
    assert (found.topology_NM[0] != found.topology_NM[1]).all()


def test_neighbours_without_features_are_in_the_lowest_bin_and_equal_ones_in_the_highest() -> None:
    found = of([(0, 1), (0, 2), (1, 3)], [[1, 2, 3, 4], [4, 3, 2, 1, 1], [], [1]])
    assert found.similarity_NC[0].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.5]
    assert found.similarity_NC[2].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert found.similarity_NC[3].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]  # 1 / sqrt(4 x 1), the least of its bin


def test_neither_order_nor_direction_nor_doubles_count() -> None:
    edge_2E, features = random_graph(300, 2000, seed=2)
    rows, mixed = feature_rows(features), np.random.default_rng(0).permutation(edge_2E.shape[1])
    first = distribute_in_memory(edge_2E, rows, 300, FEW)
    assert_equal(first, distribute_in_memory(edge_2E[::-1, mixed], rows, 300, FEW))
    assert_equal(first, distribute_in_memory(np.tile(edge_2E, 2), rows, 300, FEW))


def test_neither_runs_nor_ranges_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tasks make of a graph what one does."""
    edge_2E, features = random_graph(300, 2000, seed=2)
    expected = distribute_in_memory(edge_2E, feature_rows(features), 300, FEW)
    monkeypatch.setattr(layout, "_HELD", 300)
    monkeypatch.setattr(layout, "_WORTH", 100)
    monkeypatch.setattr(layout, "_EVERY", 7)
    (src, dst), rows = edge_2E[:, edge_2E[0] != edge_2E[1]], feature_rows(features)
    owner = np.repeat(np.arange(300, dtype=np.int32), np.diff(rows.offsets_N1))
    for name, ends in {"neighbours": ((src, dst), (dst, src)), "features": ((owner, rows.ids_E),)}.items():
        batches = [keys for pair in ends for keys in np.array_split(keys_of(*pair), 9)]
        runs = [run for task in range(3) for run in spill(tmp_path / name, task, batches[task::3])]
        assert len(runs) >= 3
        lay_out(tmp_path / name, 300, runs, each, cores=3)
    ranges = list(cut(0, 300, 37))
    parts = [surround(tmp_path, FEW, ranges, each).rows(*range_) for range_ in ranges]
    found = (np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Distribution))
    assert_equal(Distribution(*found), expected)


def each(work: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Last ones first."""
    return [work(thing) for thing in reversed(things)][::-1]


def test_another_seed_draws_others() -> None:
    edge_2E, features = random_graph(300, 2000, seed=2)
    one, two = (
        distribute_in_memory(edge_2E, feature_rows(features), 300, DistributionRules(landmarks=8, anchors=8, seed=seed))
        for seed in (0, 1)
    )
    assert (one.position_NS != two.position_NS).any() and (one.topology_NM != two.topology_NM).any()


@pytest.mark.parametrize("edge", [(0, 2), (-1, 0)])
def test_an_edge_to_no_node_is_refused(edge: tuple[int, int]) -> None:
    with pytest.raises(LakeError, match="is no node; they are numbered from 0 to 1"):
        of([(0, 1), edge], [[], []])
