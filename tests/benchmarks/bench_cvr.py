"""Conversion models on the entire space: Coat's random test, and seven regimes of a generated truth.

All methods have the same network, steps of 256 clicks and 1,024 other impressions, and a grid of six settings (learning
rate, weight decay), searched on logs of their own (two seeds, none of them judged) by the AUC of validation clicks: on
Coat for Coat, on ``truth_b1`` for all regimes. Single models keep the step of the best validation. A method with a
teacher costs its teachers beside its own steps. What the suite's default ``ukd`` is (ensemble, alpha, steps) was
chosen on seeds 100 and 101, which are not judged either, with their truth in view; the paper's form is ``ukd_paper``.

The last line is one JSON object: dataset -> model -> metric -> {mean, low, high} over seeds (95 %, Student's t),
``ukd_minus`` -> model (paired by seed), ``worst_regret`` -> model: the most that its mean AUC lies below the best
method's, over the regimes; ``flipped_labels`` -> dataset -> fit: see ``cvr_flips``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from roilake.config import read_mapping
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.models import ConversionModel
from roilake.pipelines.conversion.models.ensemble import weighted_prediction, weights
from tests.benchmarks.cvr_data import REGIMES, Dataset, calibration, expected_auc, load
from tests.benchmarks.cvr_fit import trained
from tests.benchmarks.cvr_flips import flipped

Floats = NDArray[np.float64]
SUITE = read_mapping(Path(__file__).parents[2] / "conf" / "presets" / "conversion.yaml", "a preset")
SINGLE = tuple(SUITE["ensembles"]["ensemble"])
METHODS = (*SINGLE, "ukd")
SEEDS = {"coat": 10, **dict.fromkeys(REGIMES, 5)}
TUNING_SEEDS = (1000, 1001)
GRID = tuple(product((2e-3, 5e-3), (1e-5, 1e-4, 1e-3)))
DIM = {"coat": 32}
PREDICTED_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Method:
    """``teacher`` names another method, or ``ensemble`` (all of ``SINGLE``); ``like`` the one whose setting it has."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    steps: int = 400
    keep: Literal["best", "last"] = "best"
    like: str | None = None


UKD = Method(**SUITE["models"]["ukd"])
ALL: dict[str, Method] = {
    **{kind: Method(kind) for kind in SINGLE},
    "ukd_teacher": Method("ukd_teacher", {"mu": 0.1}),
    "ukd": UKD,
    "ukd_no_uncertainty": replace(UKD, options={**UKD.options, "uncertainty": False}, like="ukd"),
    "ukd_paper": Method("ukd", teacher="ukd_teacher"),
    "ukd_paper_no_adversary": Method("ukd", teacher="base", like="ukd_paper"),
    "ukd_paper_no_uncertainty": Method("ukd", {"uncertainty": False}, "ukd_teacher", like="ukd_paper"),
    "ukd_paper_long": Method("ukd", teacher="ukd_teacher", steps=800, keep="last", like="ukd_paper"),
    "base_long": Method("base", steps=800, keep="last", like="base"),
}
"""In an order in which teachers come first. ``*_long``: the last of 800 steps, whatever validation says."""
Settings = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Said:
    """What a trained method says of the train rows, and of the judged pairs."""

    auc: float  # of the validation clicks
    train_R: Floats
    judged_N: Floats


def fit(
    data: Dataset, method: Method, setting: tuple[float, float], seed: int, dim: int, pseudo_R: Floats | None
) -> Said:
    """Train a method and let it speak."""
    if pseudo_R is not None:
        data = replace(data, train=replace(data.train, pseudo_R=pseudo_R.astype(np.float32)))
    options = {"dim": dim, **method.options}
    model, progress = trained(data, method.kind, options, setting, steps=method.steps, seed=seed, keep=method.keep)
    auc = progress.validations[progress.best].get("auc", float("nan"))
    return Said(auc, predict(model, data.train.row_RF), predict(model, data.judged_NF))


@torch.inference_mode()
def predict(model: ConversionModel, rows_RF: NDArray[np.int32]) -> Floats:
    """pCVR of rows."""
    model.eval()
    zeros = np.zeros(len(rows_RF), np.float32)
    rows = ImpressionRows.of(rows_RF, zeros, zeros)
    starts = range(0, len(rows), PREDICTED_AT_ONCE)
    parts = [model.predict(rows.at(slice(s, s + PREDICTED_AT_ONCE)).batch()).cvr_B.numpy() for s in starts]
    return np.concatenate(parts).astype(np.float64)


def ensemble(data: Dataset, said: Mapping[str, Said]) -> Said:
    """All single models as one."""
    members = [said[kind] for kind in SINGLE]
    clicked = data.validation.click_R > 0
    conversions = int(data.validation.conversion_R[clicked].sum())
    weight_M = weights(np.array([m.auc for m in members]), conversions, int(clicked.sum()) - conversions)
    train_R, judged_N = (
        weighted_prediction(np.stack([getattr(m, n) for m in members]), weight_M)[0] for n in ("train_R", "judged_N")
    )
    return Said(float("nan"), train_R, judged_N)


def run(name: str, seed: int, settings: Settings, only: Iterable[str] = tuple(ALL)) -> dict[str, dict[str, float]]:
    """Every method on one log: metrics by method."""
    data, said = loaded(name, seed), {}
    wanted = set(only)
    for each in ALL:
        method = ALL[each]
        if each not in wanted:
            continue
        if method.teacher == "ensemble" and "ensemble" not in said:
            said["ensemble"] = ensemble(data, said)
        pseudo_R = said[method.teacher].train_R if method.teacher else None
        setting = settings[method.like or each]
        if pseudo_R is None:
            said[each] = untaught(name, seed, each, setting)
        else:
            said[each] = fit(data, method, setting, seed, DIM.get(name, 16), pseudo_R)
    return {each: measured(data, told) for each, told in said.items()}


@lru_cache(2)
def loaded(name: str, seed: int) -> Dataset:
    return load(name, seed)


@lru_cache(32)
def untaught(name: str, seed: int, each: str, setting: tuple[float, float]) -> Said:
    """A method without a teacher: fitted once for all students that listen to it."""
    return fit(loaded(name, seed), ALL[each], setting, seed, DIM.get(name, 16), None)


def measured(data: Dataset, said: Said) -> dict[str, float]:
    """Metrics of the entire space."""
    truth_N, sure_N = data.probability_N, np.clip(said.judged_N, 1e-7, 1 - 1e-7)
    return {
        "auc": expected_auc(truth_N, said.judged_N),
        "calibration": calibration(truth_N, said.judged_N),
        "log_loss": float(-(truth_N * np.log(sure_N) + (1 - truth_N) * np.log(1 - sure_N)).mean()),
        "validation_auc": said.auc,
    }


def tune(
    name: str, seed: int, setting: tuple[float, float], known: Settings, wanted: tuple[str, ...]
) -> dict[str, float]:
    """AUC of validation clicks of the wanted methods at one setting; teachers have those known already."""
    teachers = {each for method in (ALL[w] for w in wanted) for each in _teachers(method)}
    own = dict.fromkeys((*wanted, *(ALL[w].like or w for w in wanted)), setting)
    told = run(name, seed, {**known, **own}, {*wanted, *teachers})
    return {each: told[each]["validation_auc"] for each in wanted}


def _teachers(method: Method) -> tuple[str, ...]:
    return SINGLE if method.teacher == "ensemble" else (method.teacher,) if method.teacher else ()


def search(pool: ProcessPoolExecutor, name: str) -> dict[str, tuple[float, float]]:
    """The setting of each method on a log's kind: the best mean AUC of validation clicks."""
    known: dict[str, tuple[float, float]] = {}
    for wanted in ((*SINGLE, "ukd_teacher"), ("ukd", "ukd_paper")):  # students listen to tuned teachers
        jobs = [
            (setting, pool.submit(tune, name, seed, setting, known, wanted))
            for setting in GRID
            for seed in TUNING_SEEDS
        ]
        found: dict[str, dict[tuple[float, float], list[float]]] = {each: {} for each in wanted}
        for setting, job in jobs:
            for each, auc in job.result().items():
                found[each].setdefault(setting, []).append(auc)
        for each, by_setting in found.items():
            known[each] = max(by_setting, key=lambda s: float(np.nanmean(by_setting[s])))
            tell(f"{name}: {each} takes learning rate {known[each][0]:g}, weight decay {known[each][1]:g}")
    return known


def interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval over seeds."""
    mean, error = (
        float(np.mean(values)),
        float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0,
    )
    half = float(student.ppf(0.975, len(values) - 1)) * error if len(values) > 1 else 0.0
    return {"mean": round(mean, 5), "low": round(mean - half, 5), "high": round(mean + half, 5)}


def summed(runs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """One dataset's part of the result."""
    metrics = ("auc", "calibration", "log_loss")
    found: dict[str, Any] = {m: {k: interval([r[m][k] for r in runs]) for k in metrics} for m in runs[0]}
    others = [model for model in runs[0] if model != "ukd"]
    found["ukd_minus"] = {m: interval([r["ukd"]["auc"] - r[m]["auc"] for r in runs]) for m in others}
    return found


def worst_regret(result: Mapping[str, Any]) -> dict[str, float]:
    """Of each model: the most that it lies below the best of ``METHODS``, over the regimes in the result."""
    regimes = [result[name] for name in REGIMES if name in result]
    best = [max(regime[m]["auc"]["mean"] for m in METHODS) for regime in regimes]
    models = [model for model in regimes[0] if model != "ukd_minus"] if regimes else []
    return {m: round(max(b - r[m]["auc"]["mean"] for b, r in zip(best, regimes, strict=True)), 5) for m in models}


def flips(name: str, seed: int, settings: Settings) -> dict[str, float]:
    """AUC by fit of telling flipped labels by the student's disagreement."""
    return flipped(loaded(name, seed), settings["ukd"], seed, DIM.get(name, 16))


def benchmark(names: Iterable[str], seeds: int | None) -> dict[str, Any]:
    """All datasets of these names."""
    result: dict[str, Any] = {}
    flipped_labels: dict[str, Any] = {}
    settings: dict[str, dict[str, tuple[float, float]]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, torch.set_num_threads, (1,)) as pool:
        for name in names:
            kind = "coat" if name == "coat" else "truth_b1"
            if kind not in settings:
                settings[kind] = search(pool, kind)
            count = min(seeds or SEEDS[name], SEEDS[name])
            runs = list(pool.map(run, [name] * count, range(count), [settings[kind]] * count))
            result[name] = summed(runs)
            found = list(pool.map(flips, [name] * count, range(count), [settings[kind]] * count))
            flipped_labels[name] = {fit: interval([one[fit] for one in found]) for fit in found[0]}
            tell(
                f"{name}: "
                + "  ".join(f"{m} {result[name][m]['auc']['mean']:.4f}" for m in (*METHODS, "ensemble", "ukd_paper"))
            )
    regrets = worst_regret(result)
    return {**result, "settings": settings, "worst_regret": regrets, "flipped_labels": flipped_labels}


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} bench-cvr  {text}", file=sys.stderr, flush=True)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result as a table."""
    models = list(next(iter(result.values())))
    for model in models:
        if model != "ukd_minus":
            cells = [
                f"{result[n][model]['auc']['mean']:.4f} {result[n][model]['calibration']['mean']:5.2f}"
                for n in SEEDS
                if n in result
            ]
            yield (f"{model:26}" + "  ".join(cells) + f"  {result['worst_regret'].get(model, float('nan')):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", default=list(SEEDS))
    parser.add_argument("--seeds", type=int)
    args = parser.parse_args()
    outcome = benchmark(args.datasets, args.seeds)
    print("auc and calibration of " + ", ".join(args.datasets), *lines(outcome), sep="\n")
    print(json.dumps(outcome))
