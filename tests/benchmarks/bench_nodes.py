"""Models of node labels on ten graphs with ten splits each: 48 % of the nodes train and 32 % validate, 50 % and 25 % in
minesweeper.

Every model has six trials on the first two splits (five of the three smallest graphs), and a seventh with the other
learning rate where the best of them has not had it; the one with the best mean validation score runs on all splits.
Score: accuracy; on minesweeper ROC AUC. A run that has ended is a line of ``bench/nodes.jsonl`` and is not run again:
delete the lines of a model whose code has changed.

The last line is one JSON object: data set -> model -> {mean, std} over splits. Lines before it: homophily, settings,
and accuracy of GCN and MWGNN by bucket of a node's own homophily.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.node_data import SETS, SPLITS, NodeData, load
from tests.benchmarks.node_fit import Setting, fit
from tests.benchmarks.node_homophily import BUCKETS, homophily

RUNS = Path("bench", "nodes.jsonl")
COMMON = (
    Setting({"layers": 2, "dropout": 0.5}, weight_decay=5e-4),
    Setting({"layers": 2, "dropout": 0.7}, weight_decay=5e-3),
    Setting({"layers": 5, "dropout": 0.2}, weight_decay=1e-5),
)
RATES = (0.01, 0.003)
_RATES = tuple({"learning_rate": rate} for rate in RATES)
OWN: dict[str, tuple[dict[str, Any], ...]] = {
    "mlp": _RATES,
    "gcn": _RATES,
    "gat": ({"heads": 8}, {"heads": 1}),
    "graphsage": _RATES,
    "gpr_gnn": ({"restart": 0.1}, {"restart": 0.9}),
    "h2gcn": ({"layers": 1}, {"layers": 2}),
    "gcn_sep": _RATES,
    "gat_sep": ({"heads": 8}, {"heads": 1}),
    "mwgnn": ({"residual": True}, {"residual": False, "learning_rate": 0.003}),
}
"""Of each model the two values of what is its own. Its trials are ``COMMON`` with each of them."""
RECONSTRUCTION = {"residual": False, "states": False, "lead": 0.0}
ABLATIONS: dict[str, dict[str, Any]] = {
    "mwgnn_no_topology": {"topology": False},
    "mwgnn_no_position": {"position": False},
    "mwgnn_no_feature": {"feature": False},
    "mwgnn_no_channel": {"independent_channels": False},
    "mwgnn_gate_one": {"gate": "one"},
    "mwgnn_r": RECONSTRUCTION,
}
"""MWGNN in its chosen setting, but for these options; ``mwgnn_r`` is the bare reconstruction."""
TUNING_SPLITS = {"texas": 5, "wisconsin": 5, "cornell": 5}
"""Splits that trials run on, where they are not two."""


def trials(model: str) -> list[Setting]:
    """A model's grid. What is its own wins over ``COMMON``."""
    found = []
    for setting, own in product(COMMON, OWN[model]):
        rate = own.get("learning_rate", setting.learning_rate)
        options = setting.options | {name: value for name, value in own.items() if name != "learning_rate"}
        found.append(replace(setting, options=options, learning_rate=rate))
    return found


@dataclass
class Runs:
    """What has been run, by data set, model, setting and split."""

    path: Path
    found: dict[tuple[str, str, str, int], dict[str, Any]] = field(default_factory=dict)
    left: int = 0  # runs that are still to come, at most
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by data set

    @classmethod
    def of(cls, path: Path) -> Runs:
        """Those of a file."""
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return cls(path, {(r["data"], r["model"], _name(r["setting"]), r["split"]): r for r in rows})

    def get(self, data: NodeData, model: str, setting: Setting, split: int) -> dict[str, Any]:
        """One run; trained if it is not there yet."""
        key = (data.name, model, _name(setting.tuned), split)
        if key not in self.found:
            began, kind = time.perf_counter(), "mwgnn" if model in ABLATIONS else model
            result = fit(data, kind, setting, split)
            row = {"data": data.name, "model": model, "setting": setting.tuned, "split": split, **result}
            self.found[key] = row
            self.path.parent.mkdir(exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.seconds.setdefault(data.name, []).append(time.perf_counter() - began)
            self._tell(row)
        self.left -= 1
        return self.found[key]

    def _tell(self, row: dict[str, Any]) -> None:
        """Progress; the time left is that of the runs of this data set, as long as the mean one so far."""
        left = self.left * float(np.mean(self.seconds[row["data"]]))
        scores = f"validation {row['validation']:.4f}  test {row['test']:.4f}"
        tell(f"{row['data']} {row['model']} {row['split']}  {scores}  {row['seconds']:.1f} s  left {left / 60:.0f} min")


def _name(setting: dict[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)


def tuning_splits(data: NodeData, splits: int) -> int:
    """On how many splits trials run."""
    return min(TUNING_SPLITS.get(data.name, 2), splits)


def chosen(runs: Runs, data: NodeData, model: str, splits: int) -> Setting:
    """The trial with the best mean validation score, the first one of equals."""

    def score(trial: Setting) -> float:
        found = [runs.get(data, model, trial, split)["validation"] for split in range(tuning_splits(data, splits))]
        return float(np.mean(found))

    best = max(trials(model), key=score)
    other = next(rate for rate in RATES if rate != best.learning_rate)
    return max(best, replace(best, learning_rate=other), key=score)


def benchmark(
    runs: Runs, data: NodeData, models: Iterable[str], ablations: Iterable[str], splits: int
) -> Iterator[tuple[str, Setting, list[dict[str, Any]]]]:
    """Each model's setting and its runs on all splits."""
    models, ablations, tuning = list(models), list(ablations), tuning_splits(data, splits)
    searches = len(models) + bool(ablations)
    runs.left = searches * (2 * len(COMMON) + 1) * tuning + (len(models) + len(ablations)) * splits
    for model in models:
        setting = chosen(runs, data, model, splits)
        yield model, setting, [runs.get(data, model, setting, split) for split in range(splits)]
    whole = chosen(runs, data, "mwgnn", splits) if ablations else Setting()
    for ablation in ablations:
        setting = replace(whole, options=whole.options | ABLATIONS[ablation])
        yield ablation, setting, [runs.get(data, ablation, setting, split) for split in range(splits)]


def summed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean and deviation over splits, in percent."""
    scores = [100 * row["test"] for row in rows]
    return {"mean": round(float(np.mean(scores)), 2), "std": round(float(np.std(scores, ddof=len(scores) > 1)), 2)}


def by_bucket(rows: list[dict[str, Any]]) -> str:
    """Accuracy, and how many test nodes, by bucket of a node's own homophily."""
    counts = np.sum([row["buckets"] for row in rows], axis=0)
    cells = zip(BUCKETS, counts, strict=True)
    return "  ".join(f">={least:.1f}: {100 * right / max(n, 1):.1f} % of {n}" for least, (right, n) in cells)


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} bench-nodes  {text}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--models", nargs="*", default=list(OWN), choices=list(OWN))
    parser.add_argument("--only", choices=("models", "ablations"), help="leave the others out")
    parser.add_argument("--splits", type=int, default=SPLITS)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    runs, result = Runs.of(RUNS), {}
    models = [] if args.only == "ablations" else args.models
    ablations = [] if args.only == "models" else list(ABLATIONS)
    for name in args.data:
        data = load(name)
        figures = homophily(data.graph.edge_2E, data.label_N)
        print(name, *(f"{kind} homophily {value:.3f}" for kind, value in figures.items()), flush=True)
        result[name] = {}
        for model, setting, rows in benchmark(runs, data, models, ablations, args.splits):
            result[name][model] = summed(rows)
            print(f"{name} {model}", result[name][model], json.dumps(setting.tuned), flush=True)
            if model in ("gcn", "mwgnn"):
                print(f"{name} {model} by own homophily", by_bucket(rows), flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
