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
        ({"users": [1, 2]}, "recall@5", "differ in their user"),
        ({"weights": [1.0, 2.0]}, "recall@5", "differ in their weight"),
        ({"items": [4, 99]}, "coverage@5", "item 99 is not in the catalogue of 6 items"),
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
        measure_arrays(**columns, metrics=[metric], events=make([1.0] * 6))


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
