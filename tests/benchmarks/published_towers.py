"""Train the suite's twin towers on a static split with the suite's own models, loss and optimizer.

Legend: U users, I items, B requests, P positives, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import nn

from roilake.hashing import keyed_hash, uniform
from roilake.pipelines.retrieval.models import TwinTower, build
from roilake.pipelines.retrieval.training.losses import NEVER, sampled_softmax
from roilake.training import Checkpoints, Context, Feed, LocalContext, OptimizerPlan, Settings, Term, train
from tests.benchmarks.published_graph import Folds, Graph, Recipe, Vectors

POSITIVES = 8
Judge = Callable[[Vectors, sp.csr_matrix, sp.csr_matrix], float]
Step = tuple[int, int, int, NDArray[np.int64]]  # epoch, number in it, fold, users


def fit_tower(seen_UI: sp.csr_matrix, recipe: Recipe, ndcg: Judge) -> tuple[Vectors, list[dict[str, float]]]:
    """Vectors of all users and items from the graph of all pairs, by the epoch whose ``ndcg(vectors, known, asked)`` is
    best on fold 0; and the learning curve. A model without parameters is read off that graph."""
    if recipe.kind == "interest_dot":
        whole = Graph(seen_UI, recipe, None)
        return whole.vectors(build("interest_dot", {}, whole.schema, *recipe.layouts())), []
    task = FoldTask(Folds(seen_UI, recipe), recipe, ndcg)
    settings = Settings(
        recipe.kind, recipe.seed, checkpoint_every=1 << 62, averaging=recipe.averaging, divide_gradients=True
    )
    model, progress = train(task, LocalContext(), Checkpoints(Path("never"), ""), settings)
    curve = [{"epoch": n, **point} for n, point in enumerate(progress.validations, start=1)]
    return task.folds.whole.vectors(model), curve


@dataclass(frozen=True)
class FoldTask:
    """Learn the pairs of all folds but the first from the graphs of the others; keep the best epoch on the first."""

    folds: Folds
    recipe: Recipe
    ndcg: Judge
    select = "fold 0 ndcg@20"

    def feed(self, context: Context) -> Feed[Step]:
        steps = sum(1 for _ in self.folds.steps(0, self.recipe))

        def batches(first: int) -> Iterator[Step]:
            for epoch in range(self.recipe.epochs):
                for number, step in enumerate(self.folds.steps(epoch, self.recipe)):
                    yield epoch, number, *step

        return Feed(batches, self.recipe.epochs * steps, steps, self.recipe.batch_size)

    def model(self) -> TwinTower:
        torch.manual_seed(self.recipe.seed)
        layouts = self.recipe.layouts()
        return build(self.recipe.kind, dict(self.recipe.options), self.folds.whole.schema, *layouts)

    def losses(self, model: Any, batch: Step) -> dict[str, Term]:
        epoch, number, fold, user_B = batch
        key = keyed_hash(self.recipe.seed, epoch, number)
        loss_B = _loss(model, self.folds, fold, user_B, self.recipe, key)
        return {"loss": Term(loss_B.sum(), torch.tensor(float(len(user_B))))}

    def optimizers(self, model: nn.Module) -> list[OptimizerPlan]:
        return [OptimizerPlan(list(model.parameters()), self.recipe.learning_rate)]

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        vectors = self.folds.graphs[0].vectors(model)
        return {self.select: self.ndcg(vectors, self.folds.known[0], self.folds.asked[0])}


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
