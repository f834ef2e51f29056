"""The arithmetic of the benchmark of node labels: node distributions, homophily, what is run, and what it may see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from tests.benchmarks import bench_nodes, node_fit
from tests.benchmarks.bench_nodes import ABLATIONS, OWN, Runs, benchmark, summed, trials
from tests.benchmarks.node_data import NodeData, make_graph
from tests.benchmarks.node_homophily import bucket_of, homophily, own_homophily

EDGES = np.array([(0, 1), (1, 0), (0, 2), (0, 3), (3, 4), (4, 4), (0, 1)])  # doubles, and a loop; 5 is alone
FEATURES = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]], float))
LABELS = np.array([0, 0, 1, 0, -1, 1])


def test_homophily_by_hand() -> None:
    graph = make_graph(FEATURES, EDGES)
    assert graph.edge_2E.shape == (2, 8)  # 0-1, 0-2, 0-3, 3-4 both ways
    assert graph.edge_2E[1].tolist() == sorted(graph.edge_2E[1].tolist())
    own = own_homophily(graph.edge_2E, LABELS)
    np.testing.assert_allclose(own, [2 / 3, 1, 0, 1, np.nan, np.nan])
    assert bucket_of(own).tolist() == [3, 4, 0, 4, -1, -1]
    found, chance = homophily(graph.edge_2E, LABELS), (5 / 6) ** 2 + (1 / 6) ** 2
    expected = {"edge": 2 / 3, "node": (2 / 3 + 1 + 0 + 1) / 4, "adjusted": (2 / 3 - chance) / (1 - chance)}
    assert found == pytest.approx(expected)


def small_data() -> NodeData:
    draw = np.random.default_rng(0)
    features = csr_matrix((draw.random((60, 9)) < 0.4).astype(float))
    label_N = draw.integers(0, 3, 60)
    part_N = np.arange(60) % 3
    masks = (np.stack([part_N == part] * 2) for part in range(3))
    return NodeData("small", make_graph(features, draw.integers(0, 60, (150, 2))), label_N, *masks)


def test_labels_of_test_nodes_are_not_in_a_task() -> None:
    data = small_data()
    test_nodes = list(data.nodes(0))[2]
    for name in OWN:
        task = node_fit.make_task(data, name, trials(name)[0], 0)
        known = task.label_N >= 0
        assert not known[test_nodes].any() and int(known.sum()) == 40
        assert not set(test_nodes.tolist()) & {*task.train.tolist(), *task.validation.tolist()}


def test_models_have_equal_trials_and_no_run_is_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {len({json.dumps(t.tuned, sort_keys=True) for t in trials(name)} | {"x"}) for name in OWN} <= {6, 7}
    assert {len(trials(name)) for name in OWN} == {6}
    calls: list[tuple[Any, ...]] = []

    def fit(data: NodeData, kind: str, setting: node_fit.Setting, split: int) -> dict[str, Any]:
        calls.append((kind, setting.options, split))
        score = setting.options["dropout"] + setting.learning_rate
        return {"validation": score, "test": 0.5 + 0.1 * split, "seconds": 0.0, "buckets": [[1, 2]] * 5}

    monkeypatch.setattr(bench_nodes, "fit", fit)
    data = small_data()
    for _ in range(2):
        runs = Runs.of(tmp_path / "runs" / "nodes.jsonl")
        found = {m: (s, summed(rows)) for m, s, rows in benchmark(runs, data, ["mlp", "mwgnn"], ABLATIONS, 2)}
        assert len(calls) == 2 * 6 * 2 + 2 + 2 * len(ABLATIONS)  # mlp has had both rates and runs.left == 0
    assert found["mlp"][0].options["dropout"] == 0.7 and found["mlp"][0].learning_rate == 0.01
    assert found["mlp"][1] == {"mean": 55.0, "std": 7.07}
    assert found["mwgnn_gate_one"][0].options == {**found["mwgnn"][0].options, "gate": "one"}


def test_one_run_is_trained_and_counted_by_bucket() -> None:
    data = small_data()
    setting = node_fit.Setting({"hidden": 8}, steps=10)
    row = node_fit.fit(data, "gcn", setting, 0)
    labelled = int((bucket_of(own_homophily(data.graph.edge_2E, data.label_N))[data.test_KN[0]] >= 0).sum())
    assert sum(n for _, n in row["buckets"]) == labelled and 0 <= row["test"] <= 1 and row["steps"] == 10
    assert torch.equal(data.seen_labels(0) >= 0, torch.from_numpy(~data.test_KN[0]))
