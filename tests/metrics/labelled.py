"""Rows for the tests of all calls: tied scores, weights (some 0), requests without positives, one-class users."""

from __future__ import annotations

from typing import Any

import numpy as np

from roilake.metrics import registry

ITEMS = 60
METRICS = (
    *(name for metric in registry.listed() for name in (metric.name, f"{metric.name}@5")
      if metric.at_k != ("never" if "@" in name else "must")),
    "map@100", "ndcg@1000000", "coverage@99999999999999999999",
)  # fmt: skip
"""Every metric of the registry, with and without its K."""


def labelled(seed: int = 0, n: int = 600) -> dict[str, Any]:
    """Keyword arguments of ``measure_arrays`` without metrics."""
    rng = np.random.default_rng(seed)
    requests = np.sort(rng.integers(0, 40, n))
    labels = rng.integers(0, 2, n) * (requests > 2)
    scores = (rng.integers(1, 8, n) + labels) / 10
    vectors = rng.normal(size=(ITEMS, 4))
    vectors[3] = 0
    return {
        "labels": labels,
        "scores": scores,
        "others": np.round(np.clip(scores + 0.2 * rng.normal(size=n), 0, 1), 2),
        "weights": rng.integers(0, 3, 40)[requests] * 1.0,
        "users": requests // 2,
        "requests": requests,
        "items": np.concatenate([rng.permutation(ITEMS)[:k] for k in np.bincount(requests, minlength=40)]),
        "events": rng.integers(0, 50, ITEMS) * 1.0,
        "vectors": vectors,
    }
