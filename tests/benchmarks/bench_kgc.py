"""Models of knowledge graphs on three published graphs with texts: filtered ranks of tails and heads.

Settings are those that validation preferred in trials by hand. A run that has ended is a line of ``bench/kgc.jsonl``,
its weights are beside it, and it is not run again: delete the lines of a model whose code has changed. ``simkgc`` is
ranked with the bonus for what is near the head that validation prefers; ``hybrid`` adds it and the best model without
texts. codex_s also tells verified false triples from true ones, by a threshold for each relation that validation
chooses.

The last line is one JSON object: data set -> model -> metric.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from roilake.pipelines.knowledge_graph.evaluation.ranking import NearBonus, Scorer
from tests.benchmarks.kgc_classes import classified
from tests.benchmarks.kgc_data import SETS, KgData, load
from tests.benchmarks.kgc_fit import Setting, fit, hybrid, ranked, reopen, scorer
from tests.benchmarks.kgc_settings import ABLATIONS, SETTINGS

RUNS = Path("bench", "kgc.jsonl")
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")


class Runs:
    """What has been run, by data set, model and setting."""

    def __init__(self, path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self._path = path
        self._found: dict[str, dict[str, Any]] = {_name(row["data"], row["model"], row["setting"]): row for row in rows}

    def get(self, data: KgData, model: str, setting: Setting) -> dict[str, Any]:
        """One run; trained if it is not there yet."""
        name = _name(data.name, model, setting.tuned)
        if name not in self._found:
            trained, figures = fit(data, setting, self.weights(name))
            scores, near = scorer(data, setting, trained)
            plain = {"no_reranking": judged(data, scores.scores)} if isinstance(scores, NearBonus) else {}
            self._add(data, model, setting.tuned, {**figures, **near, **judged(data, scores), **plain})
        return self._found[name]

    def hybrid(self, data: KgData, text: str, structure: str) -> dict[str, Any]:
        """Of two models that have been run."""
        settings = {model: SETTINGS[data.name][model] for model in (text, structure)}
        tuned = {model: setting.tuned for model, setting in settings.items()}
        name = _name(data.name, "hybrid", tuned)
        if name not in self._found:
            parts = [
                scorer(data, setting, reopen(data, setting, self.weights(_name(data.name, model, setting.tuned))))[0]
                for model, setting in settings.items()
            ]
            both, weight = hybrid(data, *parts)
            self._add(data, "hybrid", tuned, {**weight, **judged(data, both)})
        return self._found[name]

    def weights(self, name: str) -> Path:
        """Where those of a run lie."""
        return self._path.with_suffix("") / f"{sha256(name.encode()).hexdigest()[:16]}.safetensors"

    def _add(self, data: KgData, model: str, setting: dict[str, Any], result: dict[str, Any]) -> None:
        row = {"data": data.name, "model": model, "setting": setting, **result}
        self._found[_name(data.name, model, setting)] = row
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        tell(f"{data.name} {model}  validation {row['validation']:.4f}  test {row['test']['both']['mrr']:.4f}")


def _name(data: str, model: str, setting: dict[str, Any]) -> str:
    return json.dumps([data, model, setting], sort_keys=True)


def judged(data: KgData, scores: Scorer) -> dict[str, Any]:
    """Ranks, and where there are false triples how many are told from true ones."""
    classes = {"classification": classified(data, scores)} if data.negative else {}
    return {**ranked(data, scores), **classes}


def benchmark(runs: Runs, data: KgData, models: list[str], ablations: list[str]) -> dict[str, dict[str, float]]:
    """Metrics by model."""
    settings, found = SETTINGS[data.name], {}
    for model in models:
        if model != "hybrid":
            found[model] = runs.get(data, model, settings[model])
    if "hybrid" in models:
        structures = [model for model in settings if model != "simkgc"]
        best = max(structures, key=lambda model: runs.get(data, model, settings[model])["validation"])
        runs.get(data, "simkgc", settings["simkgc"])
        found["hybrid"] = runs.hybrid(data, "simkgc", best)
    for name in ablations:
        if name == "no_reranking":
            found[name] = runs.get(data, "simkgc", settings["simkgc"])[name]
        elif (without := settings["simkgc"].with_options(**ABLATIONS[name])).checked != settings["simkgc"].checked:
            found[name] = runs.get(data, name, without)  # else it has not what is to be left out
    return {model: summed(row) for model, row in found.items()}


def summed(row: dict[str, Any]) -> dict[str, float]:
    """What the last line has of a run."""
    return {
        **{name: round(row["test"]["both"][name], 4) for name in METRICS},
        **{name: round(value, 4) for name, value in row.get("classification", {}).items()},
    }


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} bench-kgc  {text}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """See the module's docstring."""
    models = [*SETTINGS[SETS[0]], "hybrid"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--models", nargs="*", default=models, choices=models)
    parser.add_argument("--ablations", nargs="*", default=list(ABLATIONS), choices=list(ABLATIONS))
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    runs, result = Runs(RUNS), {}
    for name in args.data:
        result[name] = benchmark(runs, load(name), args.models, args.ablations)
        for model, metrics in result[name].items():
            print(name, model, metrics, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
