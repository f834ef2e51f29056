"""Two checks of every night's metrics that need no bound: shuffled labels are worth nothing, and nothing is perfect.

Legend: E examples (positives and negatives of all requests), G distinct scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from roilake.hashing import keyed_hash
from roilake.lake import TABLES
from roilake.metrics.bounds import Measured, Row, half_width
from roilake.metrics.gate_result import GateResult
from roilake.metrics.intervals import Z95, Estimate
from roilake.metrics.names import AUC_POPULARITY_NEGATIVES
from roilake.metrics.observed import auc_estimate

SHUFFLED, LEAKAGE_CHECK = "auc_shuffled", "leakage_check"
"""Metric and slice of the rows with shuffled labels."""
Z9999 = 3.890591886413124
"""Of a night without fault, one model and split in 10,000 is outside by chance."""
LEAK = 0.99
"""An AUC above this is taken for a leak of the answer into the question."""
AUCS = dict.fromkeys(("auc", AUC_POPULARITY_NEGATIVES, "gauc"), "all")
"""AUCs of a night of graph models, and the slice that is looked at."""


def shuffled_auc(labels: ArrayLike, scores: ArrayLike, keys: ArrayLike) -> Estimate:
    """AUC of scores [E] against labels dealt out anew: as many ones as before, to the smallest of ``keys`` [E].

    Labels are dealt over all examples, not within requests: then AUC is 0.5 in expectation whatever the scores are.
    Within requests it is not, for those with many positives may score higher (or lower) as a whole. The interval is
    the normal one of the permutation itself (Mann and Whitney 1947, with ties as in Lehmann 1975), which holds given
    the scores, however they hang together: with m ones, n zeros, N = m + n and t_g equal scores in group g,
    Var = (N + 1 - sum_g (t_g^3 - t_g) / (N (N - 1))) / (12 m n).
    """
    ones, scores_E = int(np.sum(np.asarray(labels) == 1)), np.asarray(scores, np.float64)
    total = len(scores_E)
    dealt_E = np.zeros(total)
    dealt_E[np.argsort(keys, kind="stable")[:ones]] = 1.0
    if not 0 < ones < total:
        return Estimate(float("nan"), float("nan"), float("nan"), ones)
    value = auc_estimate(dealt_E, scores_E).value
    ties_G = np.unique(scores_E, return_counts=True)[1].astype(np.float64)
    tied = float((ties_G**3 - ties_G).sum()) / (total * (total - 1))
    half = Z95 * float(np.sqrt(max(total + 1 - tied, 0.0) / (12.0 * ones * (total - ones))))
    return Estimate(value, value - half, value + half, ones)


def shuffled_rows(outcomes: pa.Table, seed: int, ds: date, run: str) -> pa.Table:
    """Rows of ``metrics``: ``auc_shuffled`` on slice ``leakage_check`` of each model and split, from outcomes as
    ``retrieval.scoring.judge`` gives them: positives against uniform negatives, as metric ``auc`` has them."""
    places = outcomes.group_by(["split", "model"]).aggregate([]).to_pylist()
    rows = []
    for place in sorted(places, key=lambda place: (place["split"], place["model"])):
        mine = outcomes.filter((pc.field("model") == place["model"]) & (pc.field("split") == place["split"]))
        found = shuffled_auc(*_examples(mine, seed))
        numbers = {"value": found.value, "low": found.low, "high": found.high}
        known = {name: None if np.isnan(number) else number for name, number in numbers.items()}
        rows.append(
            {"ds": ds, "run": run, **place, "slice": LEAKAGE_CHECK, "metric": SHUFFLED, **known, "n": found.n}
        )
    return pa.Table.from_pylist(rows, schema=TABLES["metrics"].arrow_schema)


def _examples(rows: pa.Table, seed: int) -> tuple[NDArray, NDArray, NDArray[np.uint64]]:
    """Labels, scores and keys [E]; a key depends on seed, request, label and place, not on the order of rows."""
    labels, scores, keys = [], [], []
    for label, column in enumerate(("uniform", "positives")):
        length = pc.list_value_length(rows[column]).to_numpy()
        start = np.repeat(np.cumsum(length) - length, length)
        place = np.arange(int(length.sum())) - start
        keys.append(keyed_hash(seed, np.repeat(rows["request"].to_numpy(), length), label, place))
        scores.append(pc.list_flatten(rows[column]).to_numpy())
        labels.append(np.full(len(place), label))
    return np.concatenate(labels), np.concatenate(scores), np.concatenate(keys)


def check_shuffled(now: Measured, job: str = "evaluate_models") -> Iterator[GateResult]:
    """Shuffled labels give AUC 0.5 within the 99.99 % interval, for each model and split; else the metric itself is at
    fault. One result a split: those that fail, or the one furthest from 0.5. A split whose labels are all alike passes.
    ``job`` writes the metrics."""
    bound = "0.5 within its 99.99 % interval"
    for split in ("validation", "test"):
        rows = {
            model: row
            for (model, where, _, kind), row in sorted(now.rows.items())
            if (where, kind) == (split, SHUFFLED)
        }
        found = {
            model: (abs(row["value"] - 0.5) - half_width(row) * Z9999 / Z95, row)
            for model, row in rows.items()
            if row["value"] is not None
        }
        failed = [model for model, (beyond, _) in found.items() if beyond > 1e-9]
        for model in failed or sorted(found, key=lambda name: -found[name][0])[:1]:
            yield _result("shuffled_labels", found[model][1], model not in failed, bound, "a faulty metric")
        if not found:
            judged = any(where == split and row["n"] for (_, where, _, _), row in now.rows.items())
            missing = judged and not rows
            detail = f"no shuffled {split} labels were judged{f'; run {job} again' if missing else ''}"
            yield GateResult("shuffled_labels", not missing, detail, split=split, bound=bound)


def check_leak(now: Measured, places: Mapping[str, str] = AUCS, least: int = 0) -> Iterator[GateResult]:
    """No AUC is above ``LEAK``: of the metrics ``places``, on the slice that each names, where it has at least
    ``least`` positives. One result a split and metric: those that fail, or the highest."""
    for split in ("validation", "test"):
        for metric, name in places.items():
            rows = [
                row
                for (_, *place), row in sorted(now.rows.items())
                if place == [split, name, metric] and row["value"] is not None and row["n"] >= least
            ]
            failed = [row for row in rows if row["value"] > LEAK]
            for row in failed or sorted(rows, key=lambda row: -row["value"])[:1]:
                yield _result("leak", row, not failed, f"at most {LEAK}", "likely a leak")


def _result(gate: str, row: Row, passed: bool, bound: str, meaning: str) -> GateResult:
    place = {name: row[name] for name in ("metric", "model", "split", "slice", "value", "low", "high")}
    return GateResult(gate, passed, "" if passed else meaning, bound=bound, **place)
