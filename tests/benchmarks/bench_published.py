"""Published numbers again: ``python -m tests.benchmarks.bench_published``. Progress on stderr, one JSON line on stdout.

The protocol, on which the numbers depend: a model is fitted to the train pairs; for every user with a test item, all
items but the user's train items are ranked exactly (ties by lower item); his history is his train row. Recall@20 is
hits over *all* test items of the user (not over min(20, them)); NDCG@20 is over the best order of min(20, test items)
hits; both are means over users with a test item. Options that are searched are chosen by NDCG@20 on a fifth of the
train pairs, by keyed hash, and the model is then fitted to all of train: the test is looked at once. What is not
searched has the options written here or its defaults. LightGCN's curve is measured on the test, but nothing is chosen
by it: the last epoch counts. The graph models (``zoomer``, ``graphsage``, ``interest_dot``) have no queries here, see
``published_graph``.

Popularity on amazon_electronics: items of equal popularity tie at rank 20, and their order alone moves Recall@20 from
.0859 to .0912 and NDCG@20 from .0478 to .0497; so .0883/.0487 of the data's SOURCE.md is the same model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from roilake.metrics.ranking import NEVER, Ranks
from roilake.pipelines.retrieval.models import Fitted, check, fit
from roilake.pipelines.retrieval.models.lightgcn import Model as LightGcn
from roilake.pipelines.retrieval.scoring.topk import FromHistory, Scorer, top_k
from tests.benchmarks.published_data import Split, held_out, read_split
from tests.benchmarks.published_graph import Recipe, Vectors
from tests.benchmarks.published_towers import fit_tower
from tests.retrieval.scoring.seen_pairs import seen_pairs

K, USERS, TUNING_USERS = 20, 1024, 4000
Asked = Callable[[np.ndarray], Scorer]
PUBLISHED: dict[str, dict[str, tuple[float | None, float]]] = {
    "gowalla": {
        "popularity": (0.0416, 0.0317),
        "item_knn": (0.1570, 0.1214),
        "gf_cf": (0.1849, 0.1518),
        "lightgcn": (0.1830, 0.1554),
        "ultra_gcn": (0.1862, 0.1580),
    },
    "amazon_electronics": {"ease": (0.1332, 0.0820), "ultra_gcn": (None, 0.0829)},
}


@dataclass(frozen=True)
class Entry:
    """A row of the table: a kind of model, and the options to choose among."""

    kind: str
    options: tuple[dict[str, Any], ...] = ({},)


ITEM_KNN: tuple[dict[str, Any], ...] = tuple(
    {"similarity": s, "k": k} for s in ("cosine", "jaccard", "symmetric") for k in (50, 200, 1000)
)
ITEM_KNN += (
    {"similarity": "cosine", "k": 200, "shrink": 10.0},
    {"similarity": "symmetric", "k": 200, "shrink": 10.0},
    {"similarity": "symmetric", "k": 1000, "shrink": 10.0},
)
RANDOM_WALK: tuple[dict[str, Any], ...] = tuple({"steps": 1, "keep": 1000, "discount": d} for d in (0.1, 0.3, 0.5))
RANDOM_WALK += ({"steps": 2, "keep": 100, "discount": 0.3},)
BPR_MF: tuple[dict[str, Any], ...] = tuple(
    {"penalty": p, "epochs": e, "popularity": 0.5} for p, e in ((0.01, 100), (0.02, 100), (0.05, 300))
)
LIGHTGCN: tuple[dict[str, Any], ...] = tuple(
    {"temperature": t, "epochs": e, "score": "product"} for t, e in ((0.07, 100), (0.1, 100), (0.15, 100), (0.35, 200))
)
ENTRIES = {
    "popularity": Entry("popularity"),
    "item_knn": Entry("item_knn", ITEM_KNN),
    "item_filter": Entry("gf_cf", ({"alpha": 0.0},)),
    "gf_cf": Entry("gf_cf", ({"dim": 256},)),
    "random_walk": Entry("random_walk", RANDOM_WALK),
    "ease": Entry("ease", ({"penalty": 200.0},)),
    "bpr_mf": Entry("bpr_mf", BPR_MF),
}
DETACHED = {"neighbours": "detached"}
SMALL: dict[str, Any] = {"folds": 4, "epochs": 4}
LARGE: dict[str, Any] = {"folds": 4, "epochs": 2, "batch_size": 1024, "candidates": 1024}
TOWERS = {
    dataset: {
        "zoomer": Recipe("zoomer", "roi", DETACHED, **size),
        "graphsage": Recipe("graphsage", "uniform", DETACHED, **size),
        "interest_dot": Recipe("interest_dot"),
    }
    for dataset, size in (("gowalla", LARGE), ("amazon_electronics", SMALL))
}
"""Neighbours that learn, whose fields ZOOMER reweighs for each request, take ten times as long."""
MODELS = (*ENTRIES, "lightgcn", *TOWERS["gowalla"])
LEFT_OUT = {"gowalla": ("ease", "zoomer", "graphsage")}
"""These run there when they are named. EASE's dense map of 40,981 items takes 6.7 GB; no run of the graph models has
ended on gowalla yet."""


def main() -> None:
    args = _arguments()
    table: dict[str, Any] = {}
    for name in args.datasets:
        split = read_split(name)
        _say(f"{name}: {split.train_UI.nnz:,} train and {split.test_UI.nnz:,} test pairs of {split.train_UI.shape}")
        models = args.models or [m for m in MODELS if m not in LEFT_OUT.get(name, ())]
        table[name] = {m: _row(m, split, name, args) for m in models}
    table["published"] = {
        name: {m: dict(zip(("recall@20", "ndcg@20"), values, strict=True)) for m, values in PUBLISHED[name].items()}
        for name in args.datasets
    }
    table["load_average"] = round(os.getloadavg()[0], 1)
    print(json.dumps(table), flush=True)


def _row(model: str, split: Split, dataset: str, args: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    if model == "lightgcn":
        row = learning_curve(split, args.lightgcn_minutes)
    elif model in TOWERS[dataset]:
        row = tower(split, TOWERS[dataset][model])
    else:
        entry = ENTRIES[model]
        options = search(entry, split)
        fitted = fit(entry.kind, options, split.train_UI, 0, _say)
        row = {**measure(from_history(fitted, split), split), "options": options, "searched": len(entry.options)}
    row["seconds"] = round(time.monotonic() - began, 1)
    published = PUBLISHED[dataset].get(model)
    _say(f"{dataset} {model}: Recall@20 {row['recall@20']:.5f}, NDCG@20 {row['ndcg@20']:.5f}, published {published}")
    return row


def search(entry: Entry, split: Split) -> dict[str, Any]:
    """The options of the best NDCG@20 on the part held out of train; the first of equal ones."""
    if len(entry.options) == 1:
        return entry.options[0]
    inner, found = held_out(split, TUNING_USERS), []
    for options in entry.options:
        fitted = fit(entry.kind, options, inner.train_UI, 0, lambda _: None)
        found.append(measure(from_history(fitted, inner), inner)["ndcg@20"])
        _say(f"{entry.kind} {options}: held-out NDCG@20 {found[-1]:.5f}")
    return entry.options[int(np.argmax(found))]


def from_history(fitted: Fitted, split: Split) -> Asked:
    """The model asked for users of the split, whose histories are their train rows."""
    return lambda user_B: FromHistory(fitted, split.train_UI[user_B])


def measure(asked: Asked, split: Split) -> dict[str, float]:
    """Recall@20 and NDCG@20 of the model that this asks."""
    user_R = np.flatnonzero(np.diff(split.test_UI.indptr))
    parts = [user_R[start : start + USERS] for start in range(0, len(user_R), USERS)]
    ranks = np.concatenate([_ranks(asked(part), part, split) for part in parts])
    request = np.repeat(np.arange(len(user_R)), np.diff(split.test_UI.indptr)[user_R])
    judged = Ranks.of(ranks, request, len(user_R))
    return {"recall@20": float(judged.recall(K).mean()), "ndcg@20": float(judged.ndcg(K).mean())}


def _ranks(scorer: Scorer, user_B: np.ndarray, split: Split) -> np.ndarray:
    """Rank of each test item of these users, NEVER beyond K."""
    known = split.train_UI[user_B].tocoo()
    seen = seen_pairs(known.row.astype(np.int64), known.col.astype(np.int64), known.shape[0])
    shown_BK = top_k(scorer, min(K, scorer.num_items), seen=seen)[1].numpy()
    relevant = split.test_UI[user_B].tocoo()
    hit_PK = shown_BK[relevant.row] == relevant.col[:, None]
    return np.where(hit_PK.any(1), hit_PK.argmax(1) + 1, NEVER)


def learning_curve(split: Split, minutes: float) -> dict[str, Any]:
    """LightGCN after the epochs chosen on held-out pairs, or as many as fit into these minutes of training; the last
    one counts, whichever was best."""
    chosen = search(Entry("lightgcn", LIGHTGCN), split)
    options = check("lightgcn", chosen)
    curve, spent, resumed = [], 0.0, time.monotonic()
    for epoch, fitted in enumerate(LightGcn(options).epochs(split.train_UI, 0), start=1):
        spent += time.monotonic() - resumed
        last = epoch == chosen["epochs"] or spent * (epoch + 1) / epoch > 60 * minutes
        if last or epoch in (5, 10, 20) or epoch % 20 == 0:
            point = measure(from_history(fitted(), split), split)
            curve.append({"epoch": epoch, "seconds": round(spent, 1), **point})
            _say(f"lightgcn: {curve[-1]}")
        if last:
            break
        resumed = time.monotonic()
    found = {name: curve[-1][name] for name in ("recall@20", "ndcg@20")}
    return {**found, "curve": curve, "options": options.model_dump(), "searched": len(LIGHTGCN)}


def tower(split: Split, recipe: Recipe) -> dict[str, Any]:
    """One of the suite's own models, its epoch picked on a fold of train."""

    def ndcg(vectors: Vectors, known_UI: sp.csr_matrix, asked_UI: sp.csr_matrix) -> float:
        return measure(vectors.asked, Split(known_UI, asked_UI))["ndcg@20"]

    vectors, curve = fit_tower(split.train_UI, recipe, ndcg)
    return {**measure(vectors.asked, split), "curve": curve, "recipe": asdict(recipe)}


def _arguments(given: Iterable[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--models", nargs="+", choices=MODELS, help="all, without EASE on gowalla")
    parser.add_argument("--lightgcn-minutes", type=float, default=5.0, help="of training, at most")
    return parser.parse_args(given)


def _say(text: str) -> None:
    print(f"bench-published  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
