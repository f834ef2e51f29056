"""Measures of labels against scikit-learn, and the slices by homophily against their definition."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from roilake.metrics.slices import ALL, delta_vs_default
from roilake.pipelines.node_labels.distribution.rows import Rows
from roilake.pipelines.node_labels.evaluation.measures import Known, measure, observe, slices_of
from roilake.pipelines.node_labels.graph import homophily as homophily_of
from roilake.pipelines.node_labels.graph.homophily import homophily, own_homophily
from roilake.pipelines.node_labels.metrics import OWN

CLASSES = 4


def rows_of(pairs: list[tuple[int, int]], nodes: int = 6) -> Rows:
    """Both ways."""
    ends = np.array(sorted([*pairs, *((b, a) for a, b in pairs)]))
    return Rows.of(ends[:, 0], ends[:, 1], nodes)


def sample(seed: int, nodes: int = 60) -> tuple[Known, np.ndarray]:
    rng = np.random.default_rng(seed)
    likely = rng.dirichlet(np.ones(CLASSES), nodes + 10)
    chosen = np.sort(rng.choice(nodes + 10, nodes, replace=False))
    cuts = {ALL: np.ones(nodes, np.bool_), "half": np.arange(nodes) % 2 == 0, "none": np.zeros(nodes, np.bool_)}
    return Known(chosen, rng.integers(0, CLASSES, nodes), cuts), likely


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    known, likely = sample(seed)
    for cut in (ALL, "half"):
        chosen = known.cuts[cut]
        found = observe(known, likely[known.node_N], chosen)
        label, mine = known.label_N[chosen], likely[known.node_N][chosen]
        said = mine.argmax(1)
        values = {name: float(each.value(each.sums_UC.sum(0))) for name, each in found.items()}
        assert values["accuracy"] == pytest.approx(accuracy_score(label, said))
        assert values["macro_f1"] == pytest.approx(f1_score(label, said, average="macro"))
        assert values["cross_entropy"] == pytest.approx(log_loss(label, mine, labels=range(CLASSES)))


def test_labels_that_no_model_knows_are_misses() -> None:
    known, likely = sample(1)
    strange = Known(known.node_N, np.where(np.arange(60) < 30, CLASSES + np.arange(60) % 2, known.label_N), known.cuts)
    found = observe(strange, likely[known.node_N], known.cuts[ALL])
    values = {name: float(each.value(each.sums_UC.sum(0))) for name, each in found.items()}
    said = likely[known.node_N].argmax(1)
    assert values["accuracy"] == pytest.approx(accuracy_score(strange.label_N, said))
    assert values["macro_f1"] == pytest.approx(f1_score(strange.label_N, said, average="macro", zero_division=0))
    assert values["cross_entropy"] > 10


def test_rows_have_differences_intervals_and_what_is_empty_is_null() -> None:
    known, likely = sample(2)
    better = likely.copy()
    better[known.node_N, known.label_N] += 1
    better /= better.sum(1, keepdims=True)
    likely_of = {"test": {"a": likely[known.node_N], "b": better[known.node_N]}}
    rows = measure({"test": known}, likely_of, "a", 50, 3, date(2020, 1, 1), "run").to_pylist()
    by = {(row["model"], row["slice"], row["metric"]): row for row in rows}
    delta = by["b", delta_vs_default(), "accuracy"]
    assert delta["value"] == pytest.approx(by["b", ALL, "accuracy"]["value"] - by["a", ALL, "accuracy"]["value"])
    assert 0 < delta["low"] < delta["value"] < delta["high"] and delta["n"] == 60
    assert all(by["a", "none", name]["value"] is None and by["a", "none", name]["n"] == 0 for name in OWN)
    assert ("a", delta_vs_default(), "accuracy") not in by


def test_slices_go_by_labelled_neighbours() -> None:
    label = np.array([0, 0, 1, -1, 1, 0])
    pairs = [(0, 1), (0, 2), (0, 3), (2, 4), (3, 4)]
    nodes, graph = np.array([0, 1, 2, 4, 5]), rows_of(pairs)
    shares, degrees = homophily(graph, label), np.diff(graph.offsets_N1)
    found = {name: nodes[mask].tolist() for name, mask in slices_of(shares[nodes], degrees[nodes])}
    assert found["homophily=unknown"] == [5] and found["homophily=0.5 to 0.75"] == [0, 2]
    assert found["homophily=0.75 to 1"] == [1, 4] and found["homophily=0 to 0.25"] == []
    assert found["degree=0"] == [5] and found["degree=1 to 3"] == [0, 1, 2, 4]
    assert sum(len(mine) for name, mine in found.items() if name.startswith("homophily")) == len(nodes)


def test_users_who_meet_at_items_only_are_alike_by_two_steps() -> None:
    """Users 0 to 3, of whom 3 has no label, and items 4 and 5: 0 meets 1 twice and 2 once."""
    label = np.array([0, 0, 1, -1, -1, -1])
    pairs = [(0, 4), (1, 4), (2, 4), (3, 4), (0, 5), (1, 5)]
    np.testing.assert_allclose(homophily(rows_of(pairs), label), [2 / 3, 2 / 3, 0, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_homophily_by_blocks_is_own_homophily_where_a_neighbour_has_a_label(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    label, pairs = rng.integers(-1, 3, 50), np.unique(rng.integers(0, 50, (60, 2)), axis=0)
    graph = rows_of([(a, b) for a, b in pairs.tolist() if a < b], 50)
    monkeypatch.setattr(homophily_of, "_BLOCK", block)
    edge = np.stack([graph.ids_E, np.repeat(np.arange(50), np.diff(graph.offsets_N1))])
    own, found = own_homophily(edge, label), homophily(graph, label)
    near = ~np.isnan(own)
    assert 0 < near.sum() < (~np.isnan(found)).sum() < (label >= 0).sum()
    np.testing.assert_allclose(found[near], own[near])
