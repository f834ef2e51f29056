"""Two checks of every night's metrics that need no bound: shuffled labels are worth nothing, and nothing is perfect.

Legend: E examples (positives and negatives), G distinct scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

from roilake.metrics.classification import auc
from roilake.metrics.gates import GateResult, Measured, Row
from roilake.metrics.intervals import NAN, Z95, Estimate

SHUFFLED = "auc_shuffled"
"""Metric of the rows with shuffled labels, on slice ``leakage_check``."""
SPLITS = ("validation", "test")
Z9999 = 3.890591886413124
"""Of a night without fault, one model and split in 10,000 is outside by chance."""
LEAK = 0.99
"""An AUC above this is taken for a leak of the answer into the question."""


def shuffled_auc(labels: ArrayLike, scores: ArrayLike, keys: ArrayLike) -> Estimate:
    """AUC of scores [E] against labels dealt out anew: as many ones as before, to the smallest of ``keys`` [E].

    Labels are dealt over all examples, not within requests: then AUC is 0.5 in expectation whatever the scores are.
    Within requests it is not, for those with many positives may score higher (or lower) as a whole. The interval is the
    normal one of the permutation itself (Mann and Whitney 1947, with ties as in Lehmann 1975), which holds given the
    scores, however they hang together: with m ones, n zeros, N = m + n and t_g equal scores in group g, Var = (N + 1 -
    sum_g (t_g^3 - t_g) / (N (N - 1))) / (12 m n). Of few rows it is cut off at 0 and 1."""
    ones, scores_E = int(np.sum(np.asarray(labels) == 1)), np.asarray(scores, np.float64)
    total = len(scores_E)
    if not 0 < ones < total:
        return Estimate(NAN, NAN, NAN, ones)
    dealt_E = np.zeros(total)
    dealt_E[np.argsort(keys, kind="stable")[:ones]] = 1.0
    value = auc(dealt_E, scores_E)
    ties_G = np.unique(scores_E, return_counts=True)[1].astype(np.float64)
    tied = float((ties_G**3 - ties_G).sum()) / (total * (total - 1))
    half = Z95 * float(np.sqrt(max(total + 1 - tied, 0.0) / (12.0 * ones * (total - ones))))
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), ones)


def check_shuffled(now: Measured, step: str) -> Iterator[GateResult]:
    """Shuffled labels give AUC 0.5 within the 99.99 % interval, for each model and split; else the metric itself is at
    fault. One result a split: those that fail, or the one furthest from 0.5. A split whose labels are all alike passes.
    ``step`` writes the metrics."""
    bound = "0.5 within its 99.99 % interval"
    for split in SPLITS:
        rows = [row for (_, *key), row in sorted(now.rows.items()) if (key[0], key[2]) == (split, SHUFFLED)]
        known = [row for row in rows if row["value"] is not None]
        failed = [row for row in known if _beyond_chance(row) > 1e-9]
        for row in failed or sorted(known, key=_beyond_chance, reverse=True)[:1]:
            yield _result("shuffled_labels", row, not failed, bound, "a faulty metric")
        if not known:
            evaluated = any(where == split and row["n"] for (_, where, _, _), row in now.rows.items())
            missing = evaluated and not rows
            detail = f"no shuffled {split} labels were evaluated{f'; run {step} again' if missing else ''}"
            yield GateResult("shuffled_labels", not missing, detail, split=split, bound=bound)


def _beyond_chance(row: Row) -> float:
    """How far 0.5 lies outside the 99.99 % interval; negative within. The end that is towards 0.5 counts: the other may
    be cut off."""
    towards = max(row["value"] - row["low"], row["high"] - row["value"]) if row["low"] is not None else 0.0
    return float(abs(row["value"] - 0.5) - towards * Z9999 / Z95)


def check_leak(now: Measured, slices: Mapping[str, str], least: int = 0) -> Iterator[GateResult]:
    """No model has all its AUCs above ``LEAK``: of the metrics that ``slices`` maps to their slice, where there are at
    least ``least`` positives. A leak raises them all; one alone is also high where its negatives are easy, as places of
    another kind are. So each model's lowest counts. One result a split: those that fail, or the highest."""
    for split in SPLITS:
        lowest: dict[str, Row] = {}
        for (_, *key), row in sorted(now.rows.items()):
            if key[0] == split and slices.get(key[2]) == key[1] and row["value"] is not None and row["n"] >= least:
                lowest[row["model"]] = min(lowest.get(row["model"], row), row, key=lambda each: each["value"])
        failed = [row for row in lowest.values() if row["value"] > LEAK]
        for row in failed or sorted(lowest.values(), key=lambda row: -row["value"])[:1]:
            yield _result("leak", row, not failed, f"at most {LEAK}", "likely a leak")


def _result(gate: str, row: Row, passed: bool, bound: str, meaning: str) -> GateResult:
    """The result of a metric's check, on its row; ``meaning`` is what a failure likely means."""
    columns = {name: row[name] for name in ("metric", "model", "split", "slice", "value", "low", "high")}
    return GateResult(gate, passed, "" if passed else meaning, bound=bound, **columns)
