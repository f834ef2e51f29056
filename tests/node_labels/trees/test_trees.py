"""Trees of neighbours: what is drawn, and that with all neighbours a model sees what it sees in the whole graph."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.pipelines.node_labels.training import NodeTask, predict
from roilake.pipelines.node_labels.training.inputs import feature_rows
from roilake.pipelines.node_labels.trees.graph import Trees
from roilake.pipelines.node_labels.trees.sample import sample_forest
from roilake.pipelines.node_labels.trees.task import TreeTask
from roilake.training.context import LocalContext, determinism, threads
from tests.node_labels.small_graph import CLASSES, ISOLATED, NODES, small_graph
from tests.node_labels.training.test_task import CLASS_N, TRAIN, VALIDATION, Training, losses, make_task, run
from tests.training.toy import on_ranks

ALL = 10**6


def rows_of(graph: NodeGraph) -> Rows:
    source_E, target_E = graph.edge_2E.numpy()
    return Rows.of(target_E, source_E, graph.nodes)


def trees_of(graph: NodeGraph, fan_out: tuple[int, ...], batch: int = 7, seed: int = 0) -> Trees:
    """As if it had been laid out on disk."""
    owned_NF = graph.features_NF
    owned = Rows(owned_NF.crow_indices().numpy(), owned_NF.col_indices().int().numpy())
    dense = [part.numpy() for part in (graph.topology_NM, graph.position_NS, graph.similarity_NB)]
    return Trees(rows_of(graph), owned, dense, owned_NF.shape[1], fan_out, batch, seed)


def sets_graph() -> NodeGraph:
    """Its features are sets, as those of tables are."""
    graph = small_graph()
    owned_NF = graph.features_NF
    return replace(graph, features_NF=feature_rows(owned_NF.crow_indices(), owned_NF.col_indices(), owned_NF.shape[1]))


def tree_task(fan_out: tuple[int, ...], batch: int, passes: int, **changes: Any) -> TreeTask:
    trees = trees_of(sets_graph(), fan_out, batch)
    given = {field.name: getattr(make_task(**changes), field.name) for field in fields(NodeTask)}
    graph, _ = trees.around(torch.zeros(0, dtype=torch.int64))
    return TreeTask(**{**given, "graph": graph}, trees=trees, passes=passes)


def test_each_node_has_so_many_neighbours_or_all_it_has() -> None:
    graph, root_B = rows_of(small_graph(edges=300)), np.array([3, ISOLATED, 3, 20])
    forest = sample_forest(graph, root_B, (4,), 0)
    assert forest.node_n[forest.root_B].tolist() == root_B.tolist()
    source_e, target_e = forest.edge_2e
    for place, root in zip(forest.root_B, root_B, strict=True):
        every = graph.ids_E[graph.offsets_N1[root] : graph.offsets_N1[root + 1]].tolist()
        mine = forest.node_n[source_e[target_e == place]].tolist()
        assert len(set(mine)) == len(mine) == min(4, len(every)) and set(mine) <= set(every)
    pairs = set(zip(source_e.tolist(), target_e.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs} and not any(a == b for a, b in pairs)
    assert len(graph.ids_E) > 4 * NODES  # or nothing would have been left out


def test_two_hops_are_a_breadth_first_search() -> None:
    graph = rows_of(small_graph())
    linked = np.zeros((NODES, NODES), np.bool_)
    linked[small_graph().edge_2E[1], small_graph().edge_2E[0]] = True
    for root in range(NODES):
        forest = sample_forest(graph, np.array([root]), (ALL, ALL), 1)
        near = linked[root] | (np.arange(NODES) == root)
        assert set(forest.node_n.tolist()) == set(np.flatnonzero(near | linked[near].any(axis=0)).tolist())
        ends = forest.node_n[forest.edge_2e]
        expected = linked & (near[:, None] | near[None])
        assert {(a, b) for a, b in ends.T.tolist()} == {(a, b) for a, b in np.argwhere(expected).tolist()}


def test_every_set_of_neighbours_is_as_likely_as_any_other() -> None:
    graph = Rows.of(np.zeros(5, np.int64), np.arange(1, 6), 6)  # node 0 has five
    found: dict[tuple[int, ...], int] = dict.fromkeys(combinations(range(1, 6), 3), 0)
    for number in range(4000):
        node_n = sample_forest(graph, np.array([0]), (3,), 8, number).node_n
        found[tuple(node_n[node_n > 0].tolist())] += 1
    assert min(found.values()) > 330 and max(found.values()) < 470  # 400, and 3.5 deviations


def test_a_tree_depends_on_its_root_and_pass_alone() -> None:
    graph, fan_out = rows_of(small_graph(edges=300)), (3, 2)
    before, alone = (sample_forest(graph, np.array([root]), fan_out, 0, 0) for root in (2, 5))
    among = sample_forest(graph, np.array([2, 5, 9]), fan_out, 0, 0)
    start = len(before.node_n)
    end = start + len(alone.node_n)
    assert among.node_n[start:end].tolist() == alone.node_n.tolist()
    own_e = ((among.edge_2e >= start) & (among.edge_2e < end)).all(axis=0)
    assert (among.edge_2e[:, own_e] - start).tolist() == alone.edge_2e.tolist()
    assert sample_forest(graph, np.array([5]), fan_out, 0, 1).node_n.tolist() != alone.node_n.tolist()


@pytest.mark.parametrize("kind", models.kinds())
def test_with_all_neighbours_predictions_are_those_of_the_whole_graph(kind: str) -> None:
    graph = sets_graph()
    trees = trees_of(graph, (ALL,) * NODES, batch=7)
    with threads(1), determinism("strict"):
        torch.manual_seed(3)
        built = models.build(kind, {"hidden": 16}, GraphShape.of(graph, CLASSES)).train()
        found = trees.predict(built, torch.arange(NODES), torch.device("cpu"))
        torch.testing.assert_close(found, predict(built, graph))
    assert built.training


@pytest.mark.parametrize("kind", ["mwgnn", "gcn", "gat", "gat_sep", "gcn_sep", "graphsage", "mlp"])
def test_a_model_of_two_layers_sees_all_it_can_by_three_hops(kind: str) -> None:
    graph, node_M = sets_graph(), torch.arange(NODES)
    torch.manual_seed(3)
    built = models.build(kind, {"hidden": 16, "layers": 2}, GraphShape.of(graph, CLASSES))
    found = trees_of(graph, (ALL,) * 3).predict(built, node_M, torch.device("cpu"))
    torch.testing.assert_close(found, predict(built, graph))


@pytest.mark.parametrize("kind", ["mwgnn", "gcn", "gat"])
def test_with_all_neighbours_training_is_that_on_the_whole_graph(kind: str) -> None:
    steps = Training(steps=15, validate_every=1)
    expected, one = run(replace(make_task(kind), graph=sets_graph(), training=steps))
    found, other = run(replace(tree_task((ALL,) * 3, batch=len(TRAIN), passes=15, kind=kind), training=steps))
    assert [v["accuracy"] for v in one.validations] == [v["accuracy"] for v in other.validations]
    assert losses(other) == pytest.approx(losses(one), abs=1e-5)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=1e-3)


def test_two_ranks_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 7 or fewer nodes of 21, few neighbours of each; rank 1 has three of seven."""
    initial = tree_task((3, 2), 8, 4).model()
    monkeypatch.setattr(TreeTask, "model", lambda _: copy.deepcopy(initial))
    expected, one = run(tree_task((3, 2), 8, 4))
    assert one.steps == 4 * 3 and len(one.validations) == 4
    for found, two in on_ranks(lambda context: run(tree_task((3, 2), 8, 4), context)):
        assert losses(two) == pytest.approx(losses(one), abs=1e-5)
        assert [v["accuracy"] for v in two.validations] == [v["accuracy"] for v in one.validations]
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=1e-3)


def test_every_pass_sees_each_node_once_and_goes_on_where_it_was_left() -> None:
    task = tree_task((2,), batch=6, passes=3)
    feed = task.feed(LocalContext())
    assert (feed.steps, feed.validate_every) == (12, 4)
    steps = list(feed.batches(0))
    for first in range(0, 12, 4):
        labels = torch.cat([batch.label_T for batch in steps[first : first + 4]])
        assert sorted(labels.tolist()) == sorted(CLASS_N[TRAIN].tolist())
    for again, batch in zip(feed.batches(5), steps[5:], strict=True):
        assert torch.equal(again.label_T, batch.label_T) and torch.equal(again.graph.edge_2E, batch.graph.edge_2E)


def test_a_rank_without_a_node_learns_nothing_and_goes_on() -> None:
    for _, progress in on_ranks(lambda context: run(tree_task((2,), 1, 1, train=TRAIN[:3]), context)):
        assert progress.steps == 3 and np.isfinite(losses(progress)).all()


def test_labels_of_test_nodes_are_not_looked_at() -> None:
    planted_N = CLASS_N.clone()
    planted_N[VALIDATION[-1] + 1 :] = 10**6
    tasks = (tree_task((3, 2), 8, 2, label_N=label_N) for label_N in (CLASS_N, planted_N))
    (expected, _), (found, _) = map(run, tasks)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
