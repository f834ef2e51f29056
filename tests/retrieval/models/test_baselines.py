"""Each baseline against its equation in dense float64, or against a library's; repeats; odd matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import CosineRecommender
from sklearn.metrics import roc_auc_score
from torch_geometric.nn.models import LightGCN

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.models import (
    Fitted,
    check,
    fit,
    interactions,
    is_matrix_kind,
    kinds,
    load_fitted,
    sparse,
)
from roilake.pipelines.retrieval.models.lightgcn import Model as LightGcn
from roilake.pipelines.retrieval.models.lightgcn import Options as LightGcnOptions
from roilake.pipelines.retrieval.models.lightgcn import Pairs, _adjacency
from roilake.pipelines.retrieval.models.sparse import best_of_rows
from roilake.training.context import threads

USERS, ITEMS = 23, 17
KINDS = tuple(kind for kind in kinds() if is_matrix_kind(kind))
SHORT: dict[str, dict[str, Any]] = {"lightgcn": {"epochs": 2, "dim": 4}, "bpr_mf": {"epochs": 3, "dim": 4}}


def matrix(users: int = USERS, items: int = ITEMS) -> sp.csr_matrix:
    """Random, with a user who has nothing (0) and an item that nobody has (0)."""
    pairs = np.random.default_rng(7).random((users, items)) < 0.3
    pairs[0], pairs[:, 0] = False, False
    return interactions(*np.nonzero(pairs), users, items)


def fitted(kind: str, seen_UI: sp.csr_matrix, **options: Any) -> Fitted:
    return fit(kind, {**SHORT.get(kind, {}), **options}, seen_UI, 5, lambda _: None)


def scores(model: Fitted, history: sp.csr_matrix | None = None) -> np.ndarray:
    """Of all items for these histories; without any, for the rows of the matrix."""
    return model.scores(matrix() if history is None else history, 0, model.num_items).numpy()


def item_map(model: Fitted) -> np.ndarray:
    """Scores for histories of one item each. Item 0, which nobody had, gets popularity: no part of any map."""
    return scores(model, sp.identity(model.num_items, np.float32, format="csr"))


def inverse(degree: np.ndarray, exponent: float) -> np.ndarray:
    return np.diag([d**exponent if d else 0.0 for d in degree])


def known(expected: np.ndarray) -> np.ndarray:
    """Scores of the equation for all histories but the empty one of user 0, which gets popularity."""
    return np.r_[dense()[2][None], expected[1:]]


def dense() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R, user degrees, item degrees."""
    r = matrix().toarray().astype(np.float64)
    return r, r.sum(1), r.sum(0)


def test_pairs_that_occur_often_are_ones() -> None:
    seen = interactions(np.array([1, 1, 0]), np.array([2, 2, 1]), 2, 3)
    np.testing.assert_array_equal(seen.toarray(), [[0, 1, 0], [0, 0, 1]])


def test_popularity_counts_users() -> None:
    _, _, item = dense()
    np.testing.assert_array_equal(scores(fitted("popularity", matrix())), np.tile(item, (USERS, 1)))


def test_popularity_forgets_if_asked_to() -> None:
    days = matrix() * 3
    halves = fit("popularity", {"half_life_days": 1.5}, matrix(), 5, lambda _: None, lambda: days)
    np.testing.assert_allclose(scores(halves), np.tile(dense()[2] / 4, (USERS, 1)), rtol=1e-6)
    for kind, options in (("popularity", {}), ("item_knn", {})):
        aged = fit(kind, options, matrix(), 5, lambda _: None, lambda: days)
        np.testing.assert_array_equal(scores(aged), scores(fitted(kind, matrix())))


def test_vectors_of_components_are_known_and_the_others_come_by_lanczos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three components: with 7 vectors all, and four more; with 2 those of most pairs."""
    blocks = sp.block_diag([matrix(), matrix(12, 9), matrix(20, 15)], format="csr")
    monkeypatch.setattr(sparse, "_WHOLE", 10_000)
    whole_I7 = sparse.singular_vectors(blocks, 7, seed=5)
    monkeypatch.setattr(sparse, "_WHOLE", 0)
    found_I7 = sparse.singular_vectors(blocks, 7, seed=5)
    np.testing.assert_allclose(found_I7 @ found_I7.T, whole_I7 @ whole_I7.T, atol=1e-7)
    two_I2 = sparse.singular_vectors(blocks, 2, seed=5)
    np.testing.assert_allclose(np.linalg.norm(sparse.normalised(blocks) @ two_I2, axis=0), 1, atol=1e-6)
    assert not two_I2[ITEMS : ITEMS + 9].any() and np.count_nonzero(two_I2) == ITEMS - 1 + 14


def test_gf_cf_is_its_equation() -> None:
    r, user, item = dense()
    normed = inverse(user, -0.5) @ r @ inverse(item, -0.5)
    v = np.linalg.svd(normed)[2][:5].T
    low_pass = inverse(item, -0.5) @ v @ v.T @ inverse(item, 0.5)
    found = scores(fitted("gf_cf", matrix(), dim=5, alpha=0.3))
    np.testing.assert_allclose(found, known(r @ (normed.T @ normed + 0.3 * low_pass)), atol=1e-5)


@pytest.mark.parametrize("keep", ["history", "candidate"])
@pytest.mark.parametrize(("similarity", "shrink"), [("cosine", 0.0), ("symmetric", 3.0), ("jaccard", 1.5)])
def test_item_knn_is_its_equation(similarity: str, shrink: float, keep: str) -> None:
    r, user, n = dense()
    c = r.T @ (inverse(user, -1.0) if similarity == "symmetric" else np.eye(USERS)) @ r
    below = n[:, None] + n - c if similarity == "jaccard" else np.sqrt(n[:, None] * n)
    s = np.divide(c, below + shrink, out=np.zeros_like(c), where=c > 0).astype(np.float32)
    np.fill_diagonal(s, 0)
    for kept in s if keep == "history" else s.T:
        kept[np.argsort(-kept, kind="stable")[4:]] = 0
    found = scores(fitted("item_knn", matrix(), k=4, similarity=similarity, shrink=shrink, keep=keep))
    np.testing.assert_allclose(found, known(r @ s), atol=1e-5)


def test_cosines_are_those_of_implicit() -> None:
    library = CosineRecommender(K=ITEMS, num_threads=1)
    library.fit(matrix(), show_progress=False)
    similarity = library.similarity.toarray()
    np.fill_diagonal(similarity, 0)
    found = item_map(fitted("item_knn", matrix(), k=ITEMS, similarity="cosine"))
    np.testing.assert_allclose(found[1:], similarity[1:], atol=1e-6)


def test_ease_is_its_equation() -> None:
    r, _, _ = dense()
    p = np.linalg.inv(r.T @ r + 10 * np.eye(ITEMS))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    np.testing.assert_allclose(scores(fitted("ease", matrix(), penalty=10)), known(r @ b), atol=1e-5)


def test_ease_in_more_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(fitted("ease", matrix()))
    monkeypatch.setattr("roilake.pipelines.retrieval.models.ease.BLOCK", 5)
    np.testing.assert_allclose(scores(fitted("ease", matrix())), whole, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_random_walk_is_its_probabilities(steps: int) -> None:
    r, user, n = dense()
    m = inverse(n, -1) @ r.T @ inverse(user, -1) @ r
    np.testing.assert_allclose(m.sum(1), n > 0)
    v = sum(0.6**t * np.linalg.matrix_power(m, t + 1) for t in range(steps))
    found = scores(fitted("random_walk", matrix(), steps=steps, restart=0.4, discount=0.5))
    np.testing.assert_allclose(found, known(r @ v @ inverse(n, -0.5)), atol=1e-5)


def test_lightgcn_propagates_as_torch_geometric_does() -> None:
    seen, nodes = matrix(), USERS + ITEMS
    user, item = (torch.from_numpy(side.astype(np.int64)) for side in seen.nonzero())
    edges = torch.stack([torch.cat([user, item + USERS]), torch.cat([item + USERS, user])])
    library = LightGCN(nodes, 6, 3)
    model = LightGcn(LightGcnOptions())
    found = model.propagate(_adjacency(seen), library.embedding.weight.detach())
    torch.testing.assert_close(found, library.get_embedding(edges).detach())


def test_lightgcn_learns() -> None:
    r, _, _ = dense()
    found = scores(fitted("lightgcn", matrix(), epochs=60, dim=8))[1:, 1:]
    assert np.mean([roc_auc_score(had, row) for had, row in zip(r[1:, 1:], found, strict=True)]) > 0.9


@pytest.mark.parametrize("score", ["product", "cosine"])
def test_lightgcn_folds_a_user_in_as_a_node_without_an_embedding(score: str) -> None:
    """Of a user of the matrix that is his own vector, but for his own embedding and the root of his degree."""
    seen, (_, user, _) = matrix(), dense()
    embedding = torch.randn(USERS + ITEMS, 6, generator=torch.Generator().manual_seed(1))
    model, adjacency = LightGcn(LightGcnOptions(layers=3, score=score)), _adjacency(seen)
    vectors = model.propagate(adjacency, embedding)
    items = vectors[USERS:] / (vectors[USERS:].norm(dim=1, keepdim=True) if score == "cosine" else 1.0)
    expected = (vectors - embedding / 4)[:USERS] @ items.T
    found = model.factors(adjacency, embedding, dense()[2].astype(np.float32)).scores(seen, 0, ITEMS)
    np.testing.assert_allclose(inverse(user, -0.5) @ found.numpy(), expected[:USERS] * (user > 0)[:, None], atol=1e-5)


def test_the_loss_of_lightgcn_and_its_gradient_are_those_of_its_equation() -> None:
    r = torch.from_numpy(matrix().toarray())
    model, drawn = LightGcn(LightGcnOptions(temperature=0.3)), torch.tensor([3, 4, 4, 16])
    final = torch.randn(USERS + ITEMS, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = model.loss(final, Pairs(matrix()), drawn)
    unit = final / final.norm(dim=1, keepdim=True)
    power = (unit[:USERS] @ unit[USERS:].T / 0.3).exp()
    share = power / (power + power[:, drawn].sum(1, keepdim=True))
    expected = -(share.log() * r).sum() / r.sum()
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad(loss, final)[0] for loss in (found, expected))
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_bpr_folds_in_and_adds_the_log_of_the_popularity_that_implicit_draws_by() -> None:
    library = BayesianPersonalizedRanking(
        4, 0.05, 0.02, iterations=3, num_threads=1, random_state=5, verify_negative_samples=True
    )
    library.fit(matrix(), show_progress=False)
    (r, user, item), factors = dense(), library.item_factors[:, :4].astype(np.float64)
    bias = library.item_factors[:, 4] + 0.5 * np.log(np.where(item > 0, item, 0.5))
    mean = inverse(user, -1.0) @ r @ factors
    root = np.sqrt(0.01 * np.mean(mean**2, axis=0).mean() * USERS)
    rows, wanted = np.r_[mean[1:], root * np.eye(4)], np.r_[library.user_factors[1:, :4], np.zeros((4, 4))]
    folded = mean @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
    found = scores(fitted("bpr_mf", matrix(), penalty=0.02, popularity=0.5))
    np.testing.assert_allclose(found, known(user[:, None] * (folded @ factors.T + bias)), atol=1e-4)


def test_bpr_ranks_what_a_user_has_first() -> None:
    r, _, _ = dense()
    found = scores(fitted("bpr_mf", matrix(), epochs=300))[1:, 1:]
    assert found[r[1:, 1:] > 0].mean() > found[r[1:, 1:] == 0].mean() + 1


@pytest.mark.parametrize("kind", KINDS)
def test_fits_repeat_and_are_saved(kind: str, tmp_path: Path) -> None:
    one, other = fitted(kind, matrix()), fitted(kind, matrix())
    np.testing.assert_array_equal(scores(one), scores(other))
    one.save(tmp_path / "model")
    loaded = load_fitted(tmp_path / "model")
    assert loaded.num_items == ITEMS
    np.testing.assert_array_equal(scores(loaded), scores(one))


def test_a_fit_repeats_where_torch_would_add_up_as_threads_come() -> None:
    """From 32,768 pairs on, the gradient of an index is added up by all threads at once, but in strict mode."""
    pairs = np.random.default_rng(7).random((300, 400)) < 0.3
    crowd, strict = interactions(*np.nonzero(pairs), *pairs.shape), []
    assert crowd.nnz > 1 << 15
    with threads(4):
        runs = [fit("lightgcn", {"epochs": 10, "dim": 16}, crowd, 5, lambda _: strict.append(_strict())) for _ in "123"]
    assert strict == [True] * 3 and not _strict()
    for other in runs[1:]:
        np.testing.assert_array_equal(scores(runs[0], crowd), scores(other, crowd))


def _strict() -> bool:
    return torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_a_part_of_the_whole(kind: str) -> None:
    model, asked = fitted(kind, matrix()), np.array([4, 0, 4])
    part = model.scores(matrix()[asked], 3, 11)
    assert part.dtype == torch.float32 and torch.isfinite(part).all()
    np.testing.assert_allclose(part, scores(model)[asked, 3:11], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2, 2)])
def test_smaller_than_any_option(kind: str, shape: tuple[int, int]) -> None:
    """Fewer items than neighbours, factors or singular vectors; users and items without a pair."""
    one = interactions(np.array([0]), np.array([0]), *shape)
    found = scores(fitted(kind, one), one)
    assert found.shape == shape and np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_learn_from_scores_nothing(kind: str) -> None:
    nothing = interactions(np.array([], np.int64), np.array([], np.int64), 3, 2)
    had = interactions(np.array([1]), np.array([0]), 3, 2)
    np.testing.assert_array_equal(scores(fitted(kind, nothing), had), np.zeros((3, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_is_scored_by_its_items_alone(kind: str) -> None:
    """Of users of the matrix or not: a history's scores are the sum of those of its items (popularity: the same for
    each); without an item that anyone had, they are the items' popularity."""
    model, pairs = fitted(kind, matrix()), np.random.default_rng(3).random((9, ITEMS)) < 0.4
    pairs[0], pairs[1], pairs[2:, 1] = False, np.arange(ITEMS) == 0, True
    pairs[2:, 0] = False
    found = scores(model, interactions(*np.nonzero(pairs), *pairs.shape))
    np.testing.assert_array_equal(found[:2], np.tile(dense()[2], (2, 1)))
    share = 1 / pairs.sum(1, keepdims=True)[2:] if kind == "popularity" else 1.0
    np.testing.assert_allclose(found[2:], share * (pairs[2:] @ item_map(model)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_history_holds_can_be_preferred(kind: str, tmp_path: Path) -> None:
    plain, model = (scores(fitted(kind, matrix(), itself=weight)) for weight in (0.0, 2.5))
    np.testing.assert_allclose(model[1:], (plain + 2.5 * matrix().toarray())[1:], rtol=1e-6, atol=1e-6)
    fitted(kind, matrix(), itself=2.5).save(tmp_path / "model")
    np.testing.assert_array_equal(scores(load_fitted(tmp_path / "model")), model)


def test_equal_entries_stay_in_the_order_of_columns() -> None:
    rows = sp.csr_matrix(np.array([[2, 1, 3, 1, 1], [0, 0, 5, 0, 0]], np.float32))
    np.testing.assert_array_equal(best_of_rows(rows, 3).toarray(), [[2, 1, 3, 0, 0], [0, 0, 5, 0, 0]])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("item_knn", {"k": 0}),
        ("item_knn", {"similarity": "x"}),
        ("item_knn", {"keep": "x"}),
        ("ease", {"penalty": 0}),
        ("lightgcn", {"a": 1}),
        ("popularity", {"half_life_days": 0}),
        ("gf_cf", {"itself": -1}),
    ],
)
def test_bad_options_are_named(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{kind}: option '{next(iter(options))}'"):
        check(kind, options)
