"""Train the suite's twin towers on a static split with the suite's own models, loss and optimizer.

Legend: U users, I items, B requests, P positives, C candidates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from roilake.hashing import keyed_hash, uniform
from roilake.pipelines.retrieval.models import TwinTower, build
from roilake.pipelines.retrieval.models.matrix import Factors
from roilake.pipelines.retrieval.training.losses import NEVER, sampled_softmax
from roilake.training.context import LocalContext
from roilake.training.learner import Learner
from tests.benchmarks.published_graph import Folds, Graph, Recipe

POSITIVES = 8
Judge = Callable[[Factors, sp.csr_matrix, sp.csr_matrix], float]


def fit_tower(seen_UI: sp.csr_matrix, recipe: Recipe, ndcg: Judge) -> tuple[Factors, list[dict[str, float]]]:
    """Vectors of all users and items from the graph of all pairs, by the epoch whose ``ndcg(factors, known, asked)`` is
    best on fold 0; and the learning curve. A model without parameters is read off that graph."""
    if recipe.kind == "interest_dot":
        whole = Graph(seen_UI, recipe, None)
        return whole.factors(build("interest_dot", {}, whole.schema, *recipe.layouts())), []
    folds, best, curve, seconds = Folds(seen_UI, recipe), -1.0, [], 0.0
    torch.manual_seed(recipe.seed)
    model = build(recipe.kind, dict(recipe.options), folds.whole.schema, *recipe.layouts())
    learner = Learner(model.train(), recipe.learning_rate, recipe.averaging)
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        loss = _epoch(model, learner, folds, epoch, recipe)
        seconds += time.perf_counter() - began
        with learner.averaged():
            found = ndcg(folds.graphs[0].factors(model), folds.known[0], folds.asked[0])
            if found > best:
                best, factors = found, folds.whole.factors(model)
        point = {"epoch": epoch + 1, "seconds": round(seconds, 1), "loss": loss, "fold 0 ndcg@20": found}
        print(f"{recipe.kind}: {point}", file=sys.stderr, flush=True)
        curve.append(point)
    return factors, curve


def _epoch(model: TwinTower, learner: Learner, folds: Folds, epoch: int, recipe: Recipe) -> float:
    """One pass over the requests of all folds but the first; the mean loss of its steps."""
    losses = []
    for number, (fold, user_B) in enumerate(folds.steps(epoch, recipe)):
        learner.zero_grad()
        loss_sum = _loss(model, folds, fold, user_B, recipe, keyed_hash(recipe.seed, epoch, number)).sum()
        loss_sum.backward()
        losses.append(learner.step(LocalContext(), loss_sum, torch.tensor(float(len(user_B)))))
    return float(np.mean(losses))


def _loss(
    model: TwinTower, folds: Folds, fold: int, user_B: NDArray, recipe: Recipe, key: NDArray[np.uint64]
) -> torch.Tensor:
    """Softmax of each positive over uniform candidates that the user does not have, mean over the positives [B]."""
    positives_BP = _first(folds.asked[fold][user_B], POSITIVES, key)
    num_items = folds.seen_UI.shape[1]
    drawn_I = uniform(key.view(np.int64), np.arange(num_items)) < recipe.candidates / num_items
    drawn_I[positives_BP[positives_BP >= 0]] = True
    item_C, graph = np.flatnonzero(drawn_I), folds.graphs[fold]
    column_BP = np.where(positives_BP >= 0, np.searchsorted(item_C, positives_BP), -1)
    request_BD = model.embed_requests(graph.requests(user_B, positives_BP), graph.features)
    score_BC = request_BD @ model.embed_items(graph.items(item_C), graph.features).T
    had_BC = folds.seen_UI[user_B][:, item_C].toarray() > 0
    row, place = np.nonzero(column_BP >= 0)
    had_BC[row, column_BP[row, place]] = False
    offset_C = torch.full((len(item_C),), float(np.log(max(1.0, num_items / recipe.candidates))))
    masked_BC = score_BC.masked_fill(torch.from_numpy(had_BC), NEVER)
    return sampled_softmax(masked_BC, torch.from_numpy(column_BP), offset_C)


def _first(rows: sp.csr_matrix, count: int, key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Up to ``count`` columns of each row, drawn by keyed hash, -1 padded."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((keyed_hash(key.view(np.int64), row, rows.indices), row))
    place = np.arange(len(row)) - rows.indptr[row]
    kept = place < count
    found = np.full((rows.shape[0], count), -1, np.int64)
    found[row[kept], place[kept]] = rows.indices[order][kept]
    return found
