"""A small graph of two kinds of nodes that mostly cite their own kind, as files, and a night on it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from roilake.pipelines.node_labels.config import NodeLabelsConfig

DS = date(2020, 1, 10)
NODES = 120
WORDS = 12


def write_graph(folder: Path, *, seed: int = 3) -> None:
    """``nodes.csv`` (id, kind, words) and ``edges.csv`` (a, b). Kind of node n is n mod 2; every tenth says nothing of
    itself, the last three nodes have no edge, and one edge stands twice, once in the other direction, beside a loop."""
    rng = np.random.default_rng(seed)
    lines = ["id,kind,words"]
    for node in range(NODES):
        own = rng.choice(WORDS // 2, 2, replace=False) + (node % 2) * WORDS // 2
        any_word = rng.integers(0, WORDS)
        kind = "" if node % 10 == 0 else ("even", "odd")[node % 2]
        lines.append(f"n{node},{kind},{' '.join(f'w{word}' for word in (*own, any_word))}")
    (folder / "nodes.csv").write_text("\n".join(lines) + "\n")
    edges = ["a,b", "n1,n3", "n3,n1", "n5,n5"]
    for node in range(NODES - 3):
        for _ in range(3):
            other = 2 * rng.integers(0, (NODES - 3) // 2) + (node % 2 if rng.random() < 0.85 else 1 - node % 2)
            edges.append(f"n{node},n{other}")
    (folder / "edges.csv").write_text("\n".join(edges) + "\n")


def night_of(folder: Path, **sections: Any) -> NodeLabelsConfig:
    """A night on these files: two models of 30 steps."""
    graph = {
        "nodes": {
            "path": str(folder / "nodes.csv"), "format": "csv", "key": "id", "label": "kind",
            "features": "split(words, ' ')",
        },
        "edges": {"path": str(folder / "edges.csv"), "format": "csv", "source": "a", "target": "b"},
    }  # fmt: skip
    tree: dict[str, Any] = {
        "pipeline": "node_labels",
        "name": "small",
        "seed": 5,
        "graph": {**graph, **sections.pop("graph", {})},
        "models": {"mwgnn": {"kind": "mwgnn"}, "mlp": {"kind": "mlp"}},
        "training": {"steps": 30, "validate_every": 10},
        "evaluation": {"bootstrap": 20},
    }
    return NodeLabelsConfig.model_validate({**tree, **sections})
