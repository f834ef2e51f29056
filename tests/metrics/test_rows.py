"""All metrics of arrays and tensors in one call: the same numbers, those of the libraries, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional import retrieval as tm

from roilake.errors import MetricError
from roilake.metrics import Estimate, measure_arrays
from tests.metrics.labelled import ITEMS, METRICS, labelled


def numbers(found: dict[str, Estimate]) -> np.ndarray:
    return np.array([[e.value, e.low, e.high, e.n] for e in found.values()])


def test_tensors_give_what_arrays_give() -> None:
    rows = labelled()
    tensors = {name: torch.tensor(column) for name, column in rows.items()}
    for drop in ((), ("others",), ("others", "weights")):
        ours = {name: column for name, column in rows.items() if name not in drop}
        theirs = {name: column for name, column in tensors.items() if name not in drop}
        np.testing.assert_allclose(
            numbers(measure_arrays(**theirs, metrics=METRICS)),
            numbers(measure_arrays(**ours, metrics=METRICS)),
            atol=1e-12,
        )


def test_weighted_values_equal_scikit_learn() -> None:
    rows = labelled(1)
    y, s, w = (rows[name] for name in ("labels", "scores", "weights"))
    rows.pop("others")
    found = measure_arrays(**rows, metrics=METRICS)
    assert found["auc"].value == pytest.approx(sk.roc_auc_score(y, s, sample_weight=w), abs=1e-9)
    assert found["pr_auc"].value == pytest.approx(sk.average_precision_score(y, s, sample_weight=w), abs=1e-9)
    assert found["log_loss"].value == pytest.approx(sk.log_loss(y, s, sample_weight=w), abs=1e-9)
    assert found["brier"].value == pytest.approx(sk.brier_score_loss(y, s, sample_weight=w), abs=1e-9)
    by_user = [np.flatnonzero((rows["users"] == u) & (w > 0)) for u in np.unique(rows["users"])]
    known = [r for r in by_user if 0 < y[r].sum() < len(r)]
    areas = [sk.roc_auc_score(y[r], s[r], sample_weight=w[r]) for r in known]
    gauc = np.average(areas, weights=[w[r].sum() for r in known])
    assert found["gauc"].value == pytest.approx(gauc, abs=1e-9)
    for metric, estimate in found.items():
        assert estimate.low <= estimate.high, metric


def test_ranking_and_lists_equal_their_definitions() -> None:
    rows = labelled(2)
    rows.pop("others")
    found = measure_arrays(**rows, metrics=METRICS)
    totals: dict[str, list[tuple[float, float]]] = {}
    shown: set[int] = set()
    share = (rows["events"] + 1) / (rows["events"] + 1).sum()
    tops, chosen = 0.0, 0.0
    for request in np.unique(rows["requests"]):
        mine = np.flatnonzero(rows["requests"] == request)
        mine = mine[np.lexsort((rows["items"][mine], -rows["scores"][mine]))]
        weight, items = rows["weights"][mine[0]], rows["items"][mine[:5]]
        shown |= set(items.tolist()) if weight else set()
        unit = rows["vectors"][items] / np.maximum(np.linalg.norm(rows["vectors"][items], axis=1), 1e-9)[:, None]
        pairs = [unit[i] @ unit[j] for i in range(len(items)) for j in range(i)]
        totals.setdefault("novelty@5", []).append((float(-np.log2(share[items]).mean()), weight))
        totals.setdefault("diversity@5", []).append((1 - float(np.mean(pairs)), weight))
        target = torch.tensor(rows["labels"][mine] == 1)
        if not target.any():
            continue
        order = torch.arange(len(mine), 0, -1).double()
        for name, call in (
            ("recall@5", tm.retrieval_recall), ("precision@5", tm.retrieval_precision),
            ("hit_rate@5", tm.retrieval_hit_rate), ("mrr@5", tm.retrieval_reciprocal_rank),
            ("ndcg@5", tm.retrieval_normalized_dcg),
        ):  # fmt: skip
            totals.setdefault(name, []).append((float(call(order, target, top_k=5)), weight))
        tops += weight * rows["events"][items].mean()
        chosen += weight * rows["events"][rows["items"][mine[target.numpy()]]].mean()
    for name, pairs_ in totals.items():
        values, weights = np.array(pairs_).T
        assert found[name].value == pytest.approx(np.average(values, weights=weights), abs=1e-6), name
        assert found[name].n == len(values)
    assert found["coverage@5"].value == len(shown) / ITEMS
    assert found["popularity_bias@5"].value == pytest.approx(tops / chosen, abs=1e-9)


def test_pr_auc_s_interval_is_that_of_the_jackknife() -> None:
    """To first order: the influence of each user, found by taking the user away."""
    rows = labelled(3, 4000)
    y, s, users = rows["labels"], rows["scores"] + np.arange(4000) % 7 / 100, rows["users"]
    estimate = measure_arrays(y, s, ["pr_auc"], users=users)["pr_auc"]
    apart = [sk.average_precision_score(y[users != u], s[users != u]) for u in np.unique(users)]
    spread = np.sqrt((len(apart) - 1) * np.var(apart))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * spread, rel=0.1)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
@pytest.mark.parametrize(
    ("change", "metric", "says"),
    [
        ({"scores": [0.1, float("nan")]}, "auc", "scores must be finite: row 1"),
        ({"scores": [float("-inf"), 0.1]}, "ndcg@5", "scores must be finite: row 0"),
        ({"scores": [0.1, 1.5]}, "log_loss", r"probabilities must lie in \[0, 1\]: row 1"),
        ({"labels": [0, 2]}, "auc", "labels must be 0 or 1: row 1"),
        ({"weights": [1.0, -1.0]}, "auc", "weights must be finite and not negative: row 1"),
        ({"items": [4, 4]}, "recall@5", "request 0 has item 4 twice: a candidate is duplicated"),
        ({"users": [1, 2]}, "recall@5", "rows of request 0 differ in their user"),
        ({"weights": [1.0, 2.0]}, "recall@5", "differ in their weight"),
        ({"items": [4, 99]}, "coverage@5", r"item 99 is not in the catalogue of 6 items \(1 such items\): add it"),
        ({"items": [4, -1]}, "coverage@5", "item -1 is not in the catalogue"),
        ({"items": [4, 4.5]}, "novelty@5", "item 4.5 is not in the catalogue"),
        ({"events": [1.0, float("nan")] * 3}, "novelty@5", "events must be counts: row 1"),
        ({"events": [1.0, -1.0] * 3}, "novelty@5", "events must be counts: row 1"),
        ({"vectors": [[1.0, 2.0]] * 4}, "diversity@5", "one row an item, not 6 of events, 4 of vectors"),
        ({"vectors": [[float("inf")]] * 6}, "diversity@5", "vectors must be finite and equally long: row 0"),
        ({}, "diversity@5", "diversity@5 needs vectors of the catalogue"),
        ({"shown": [1, 2]}, "auc", "shown must be 0 or 1: row 1"),
        ({"shown": [1]}, "auc", r"scores \(2,\) must be as long as the other columns \(1,\)"),
        ({"others": [0.1]}, "auc", r"others \(1,\) must be as long as the other columns \(2,\)"),
        ({"users": [1]}, "auc", r"users \(1,\) must be as long as labels \(2,\)"),
        ({"users": [1.0, float("nan")]}, "auc", r"users must not be null: row 1 is \(1 such rows\)"),
        ({"items": [1.0, float("nan")]}, "auc", "items must not be null: row 1"),
        ({"requests": [[0], [0]]}, "auc", r"requests \(2, 1\) must be a list of ids"),
        ({"labels": [0, 1, 1]}, "auc", "equally long"),
        ({}, "recal@5", "unknown metric 'recal@5'"),
        ({}, "recall@0", "unknown metric 'recall@0'"),
        ({}, "recall", "unknown metric 'recall'"),
        ({}, "odd_auc", "unknown metric 'odd_auc'"),
    ],
)
def test_bad_rows_are_refused(make: Callable, change: dict[str, Any], metric: str, says: str) -> None:
    rows = {"labels": [0, 1], "scores": [0.1, 0.2], "users": [1, 1], "requests": [0, 0], "items": [4, 5]}
    columns = {name: make(column) for name, column in (rows | change).items()}
    with pytest.raises(MetricError, match=says):
        measure_arrays(**{"events": make([1.0] * 6), **columns}, metrics=[metric])


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_what_is_relevant_and_was_never_shown_counts_as_relevant(make: Callable) -> None:
    """Three are relevant, one is shown: a recall of a third, not of one."""
    rows = {
        "labels": [1, 0, 1, 1], "scores": [0.9, 0.8, float("nan"), float("nan")], "shown": [1, 1, 0, 0],
        "requests": [5, 5, 5, 5], "items": [0, 1, 2, 3], "users": [1, 1, 1, 1], "events": [3.0, 1.0, 5.0, 1.0],
    }  # fmt: skip
    columns = {name: make(column) for name, column in rows.items()}
    names = [
        "recall@10",
        "ndcg@10",
        "map_all",
        "mrr",
        "hit_rate@1",
        "auc",
        "log_loss",
        "coverage@10",
        "popularity_bias@1",
    ]
    found = measure_arrays(**columns, metrics=names)
    best = 1 + 1 / np.log2(3) + 1 / 2
    expected = [1 / 3, 1 / best, 1 / 3, 1, 1, 1, -(np.log(0.9) + np.log(0.2)) / 2, 2 / 4, 3 / ((3 + 5 + 1) / 3)]
    assert [found[name].value for name in names] == pytest.approx(expected)
    assert (found["auc"].n, found["log_loss"].n) == (1, 2)
    nothing = measure_arrays(**{**columns, "shown": make([0, 0, 0, 0])}, metrics=["recall@10", "auc", "coverage@10"])
    assert nothing["recall@10"].value == 0 and np.isnan([nothing["auc"].value, nothing["coverage@10"].value]).all()


def test_a_catalogue_has_any_ids_in_any_order() -> None:
    """The list's items have 3 events and none: with the third item's 5 they are 8 of 3 items."""
    rows = {"labels": [1, 0], "scores": [0.9, 0.8], "requests": ["r", "r"], "items": ["tea", "01"]}
    known = {"catalogue": ["milk", "01", "tea"], "events": [5.0, 0.0, 3.0], "vectors": [[1, 0], [0, 1], [3, 4]]}
    names = ["coverage@1", "coverage@9", "novelty@2", "novelty_unsmoothed@2", "diversity@2", "popularity_bias@2"]
    found = measure_arrays(**rows, metrics=names, **known)
    expected = [1 / 3, 2 / 3, -np.log2(4 / 11 * 1 / 11) / 2, -np.log2(3 / 8), 1 - 0.8, 1.5 / 3]
    assert [found[name].value for name in names] == pytest.approx(expected)
    for change, says in (
        ({"catalogue": ["milk", "1", "tea"]}, r"item '01' is not in the catalogue of 3 items \(1 such items\): add it"),
        ({"catalogue": ["tea", "01", "tea"]}, r"the catalogue has item 'tea' twice \(1 such items\)"),
        ({"catalogue": ["tea", "01", None]}, "catalogue must not be null: row 2"),
        ({"catalogue": ["tea", "01"]}, "one row an item, not 2 of catalogue, 3 of events, 3 of vectors"),
        ({"events": ["5", "0", "3"]}, "events must be numbers, not texts"),
    ):
        with pytest.raises(MetricError, match=says):
            measure_arrays(**rows, metrics=names, **{**known, **change})


def test_texts_are_no_numbers_and_one_name_is_no_list() -> None:
    with pytest.raises(MetricError, match="labels must be numbers, not texts"):
        measure_arrays(["1", "0"], [0.1, 0.2], ["auc"])
    with pytest.raises(MetricError, match="scores must be numbers"):
        measure_arrays([1, 0], [0.1, object()], ["auc"])
    with pytest.raises(MetricError, match=r"'auc' must be a list of names: \['auc'\]"):
        measure_arrays([1, 0], [0.1, 0.2], "auc")


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_what_is_undefined_is_nan_and_a_short_list_is_taken_as_it_is(make: Callable) -> None:
    rows = {"labels": [1, 1], "scores": [0.1, 0.2], "users": [1, 2], "requests": [0, 1], "items": [4, 5]}
    found = measure_arrays(
        **{k: make(v) for k, v in rows.items()}, metrics=["auc", "gauc", "ks", "recall@50", "precision@50"]
    )
    assert np.isnan([found[name].value for name in ("auc", "gauc", "ks")]).all()
    assert (found["recall@50"].value, found["precision@50"].value) == (1.0, 1 / 50)
    nothing = {k: make(v)[:0] for k, v in rows.items()}
    for name, e in measure_arrays(**nothing, metrics=METRICS, events=make([1.0]), vectors=make([[1.0]])).items():
        assert np.isnan([e.value, e.low, e.high]).all() and e.n == 0, name
