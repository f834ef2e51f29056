"""Does a student's uncertainty show which labels are wrong? A share of the clicks' conversion labels is flipped, the
student is trained on them without pseudo-labels, and its two heads' disagreement on these clicks is looked at.

Two fits of the same network: as tuned (the last of 400 steps at the default's setting), and to the labels (800 steps at
the highest rate of the grid, no weight decay), where it has learnt nearly all of them by heart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from roilake.hashing import uniform
from tests.benchmarks.cvr_data import Dataset
from tests.benchmarks.cvr_fit import trained

FLIPPED = 0.1
_SALT = 7919


def flipped(data: Dataset, setting: tuple[float, float], seed: int, dim: int) -> dict[str, float]:
    """By fit: AUC of telling flipped clicks from the others by their disagreement; above a half, it rises on them."""
    fits = {"as_tuned": (400, *setting), "by_heart": (800, 5e-3, 0.0)}
    return {name: flip_auc(data, *fit, seed, dim) for name, fit in fits.items()}


def flip_auc(data: Dataset, steps: int, rate: float, decay: float, seed: int, dim: int) -> float:
    """The AUC after one fit."""
    rows = data.train
    clicked_R = rows.click_R > 0
    flip_R = clicked_R & (uniform(_SALT + seed, np.arange(len(rows))) < FLIPPED)
    wrong = replace(rows, conversion_R=np.where(flip_R, 1 - rows.conversion_R, rows.conversion_R))
    wrong_data, options = replace(data, train=wrong), {"dim": dim, "alpha": 0.0}
    model, _ = trained(
        wrong_data, "ukd", options, (rate, decay), steps=steps, seed=seed, validate_every=steps, keep="last"
    )
    with torch.inference_mode():
        unsure_C = model.eval().predict(rows.at(clicked_R).batch()).uncertainty_B
    assert unsure_C is not None  # the student has two heads
    return float(roc_auc_score(flip_R[clicked_R], unsure_C.numpy()))
