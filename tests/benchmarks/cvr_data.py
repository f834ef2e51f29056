"""Data sets of the conversion benchmark, in memory: Coat, and seven regimes of a generated truth.

Legend: N pairs that are judged, R impressions, F fields.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from scipy.stats import rankdata

from roilake.hashing import uniform
from roilake.pipelines.conversion.config import TruthConfig
from roilake.pipelines.conversion.feed.rows import ImpressionRows
from roilake.pipelines.conversion.impressions.truth import Factors, World, fit_factors, read_ratings
from roilake.pipelines.conversion.models import Field

Floats = NDArray[np.float64]

REGIMES: dict[str, dict[str, float]] = {
    "truth_b05": {"click_affinity": 0.5},
    "truth_b1": {"click_affinity": 1.0},
    "truth_b2": {"click_affinity": 2.0},
    "truth_bait": {"click_affinity": -1.0},
    "truth_pop": {"click_affinity": 0.0, "click_popularity": 1.0},
    "truth_mnar": {"click_affinity": 0.5, "hidden_cause": 1.5},
    "truth_low": {"click_affinity": 1.0, "conversion_rate": 0.005, "impressions": 300_000},
}
"""Knobs of ``TruthConfig``, as a first trial fixed them before any comparison; the others are its defaults."""
_VALIDATION = 5  # one impression of so many
_JUDGED = 100_000


@dataclass(frozen=True)
class Dataset:
    """What models are trained and judged on. ``probability_N`` is the truth of a pair drawn at random, or its label."""

    fields: tuple[Field, ...]
    train: ImpressionRows
    validation: ImpressionRows
    judged_NF: NDArray[np.int32]
    probability_N: Floats

    @property
    def click_rate(self) -> float:
        return float(self.train.click_R.mean())


def load(name: str, seed: int) -> Dataset:
    """A data set by name; ``seed`` draws the log (a truth) or the validation clicks (Coat)."""
    return _coat(seed) if name == "coat" else _truth(name, seed)


@cache
def _factors() -> Factors:
    path = Path(sysconfig.get_paths()["purelib"], "recbole", "dataset_example", "ml-100k", "ml-100k.inter")
    rows = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter="\t")).rename_columns(
        ["user", "item", "rating", "time"]
    )
    user_N, item_N, rating_N, _, _ = read_ratings(rows, str(path))
    return fit_factors(user_N, item_N, rating_N, seed=0)


def world(name: str, seed: int) -> World:
    """The world of a regime."""
    nowhere = {"path": "-", "format": "csv", "user": "-", "item": "-", "rating": "-"}
    return World(_factors(), TruthConfig.model_validate({"ratings": nowhere, **REGIMES[name]}), seed)


def _truth(name: str, seed: int) -> Dataset:
    """The log holds the regime's impressions to learn from, and a fifth as many to validate on."""
    made = world(name, seed)
    count = made.config.impressions
    drawn = made.impressions(np.arange(count + count // _VALIDATION))
    rows = ImpressionRows.of(np.stack([drawn.user_N, drawn.item_N], axis=1), drawn.click_N, drawn.conversion_N)
    user_N, item_N = made.pairs(np.arange(_JUDGED))
    factors = made.factors
    fields = Field("user", "user", len(factors.user_U)), Field("item", "item", len(factors.item_I))
    return Dataset(
        fields,
        rows.at(slice(0, count)),
        rows.at(slice(count, None)),
        np.stack([user_N, item_N], axis=1).astype(np.int32),
        made.conversion_probability(user_N, item_N),
    )


def _coat(seed: int) -> Dataset:
    """Exposure: every pair; click: rated by choice; conversion: four stars and more. A tenth of the clicks validates.
    Judged are the pairs that were rated because they were drawn, but for 366 that were chosen too, whose label the log
    has; the judged ones are among its unclicked."""
    folder = Path(os.environ.get("ROILAKE_DATA", "../shared/data"), "coat")
    chosen_UI, drawn_UI = (np.loadtxt(folder / f"{part}.ascii", dtype=np.int64) for part in ("train", "test"))
    user_R, item_R = (axis.ravel() for axis in np.indices(chosen_UI.shape))
    fields, columns = [], []
    for kind, id_R in (("user", user_R), ("item", item_R)):
        groups = _groups(folder / "user_item_features", kind)
        fields += [Field(kind, kind, int(id_R.max()) + 1)]  # type: ignore[arg-type]
        fields += [Field(f"{kind}_{name}", kind, values) for name, values, _ in groups]  # type: ignore[arg-type]
        columns += [id_R, *(category[id_R] for _, _, category in groups)]
    rows_RF = np.stack(columns, axis=1)
    rating_R = chosen_UI.ravel()
    held_R = (rating_R > 0) & (uniform(seed, np.arange(len(rating_R))) < 0.1)
    rows = ImpressionRows.of(rows_RF, rating_R > 0, rating_R >= 4)
    judged = np.flatnonzero((drawn_UI > 0) & (chosen_UI == 0))
    converted_N = (drawn_UI.ravel()[judged] >= 4).astype(np.float64)
    return Dataset(tuple(fields), rows.at(~held_R), rows.at(held_R), rows_RF[judged].astype(np.int32), converted_N)


def _groups(folder: Path, kind: str) -> list[tuple[str, int, NDArray[np.int64]]]:
    """(name, number of values, value of each user or item) of the one-hot feature groups."""
    names = [line.split(":")[0] for line in (folder / f"{kind}_features_map.txt").read_text().splitlines() if line]
    hot = np.loadtxt(folder / f"{kind}_features.ascii", dtype=np.int64)
    found = []
    for name in dict.fromkeys(names):
        places = [place for place, each in enumerate(names) if each == name]
        found.append((name, len(places), hot[:, places].argmax(axis=1)))
    return found


def expected_auc(probability_N: Floats, score_N: Floats) -> float:
    """Probability that a pair that converts scores above one that does not, ties a half: a pair is a positive of weight
    p and a negative of weight 1 - p."""
    order = np.argsort(score_N, kind="stable")
    positive_N, negative_N = probability_N[order], 1 - probability_N[order]
    rank_N = rankdata(score_N[order], method="min").astype(np.int64) - 1  # first place of the same score
    below_N = np.concatenate([[0.0], np.cumsum(negative_N)])
    last_N = rankdata(score_N[order], method="max").astype(np.int64)
    wins_N = (below_N[rank_N] + below_N[last_N]) / 2
    return float((positive_N * wins_N).sum() / (positive_N.sum() * negative_N.sum()))


def calibration(probability_N: Floats, predicted_N: Floats) -> float:
    """Predicted over true conversions."""
    return float(predicted_N.sum() / probability_N.sum())


__all__: Sequence[str] = ("REGIMES", "Dataset", "calibration", "expected_auc", "load", "world")
