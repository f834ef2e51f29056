"""What each metric of rows comes to, with what its interval needs: sums by user, or each user's part of the error.

Legend: N rows, U users, T distinct scores. ``user_N`` numbers the users 0..U-1. Rows may be arrays or tensors; what
is kept by user is numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake.metrics.arrays import floats, host
from roilake.metrics.classification import GAUC, Floats, GroupWeight, Labelled, Steps, Sums, area_by_group, gap, ratio
from roilake.metrics.intervals import NAN, Linear, Summed


def observe_auc(data: Labelled, user_N: Any, users: int) -> Linear:
    """AUC by DeLong et al. (1988): for a positive the share of negatives it beats, for a negative the share of
    positives that beat it (ties a half). A perfect AUC has variance 0 by this method."""
    steps = data.steps
    if not steps.defined:
        return _undefined(data.positives)
    value, (positive, negative) = steps.area(), steps.total
    beaten_N, beating_N = (each[steps.step_N] for each in (steps.beaten(), steps.beating()))
    return linear(data, user_N, users, value, beaten_N / negative - value, beating_N / positive - value)


def observe_pr_auc(data: Labelled, user_N: Any, users: int) -> Linear:
    """PR-AUC, AP = sum_i w_i P_i / W+ over positives, with P_i = H_i / N_i from the positives and rows at i's score
    or above. Derived by its definition: a row j adds w_j / W+ times (y_j (P_j - AP) + sum over positives i with
    s_i <= s_j of w_i (y_j / N_i - H_i / N_i^2))."""
    steps = data.steps
    if not steps.total[0] > 0:
        return _undefined(data.positives)
    precision_T = steps.precision()
    value = float(steps.positive_T @ precision_T / steps.total[0])
    gain_T, loss_T = pr_slopes(steps)
    gain_T, loss_T = gain_T.cumsum(0), loss_T.cumsum(0)
    own_N = (precision_T - value + gain_T - loss_T)[steps.step_N]
    other_N = -loss_T[steps.step_N] * max(steps.total[1], 1e-300) / steps.total[0]
    return linear(data, user_N, users, value, own_N, other_N)


def pr_slopes(steps: Steps) -> tuple[Any, Any]:
    """Sums over the positives of each step of 1 / N_i and H_i / N_i^2 [T]."""
    _, shown_T = steps.shown()
    safe_T = shown_T + (shown_T == 0)
    return steps.positive_T / safe_T, steps.positive_T * steps.precision() / safe_T


def linear(data: Labelled, user_N: Any, users: int, value: float, positive_N: Any, negative_N: Any) -> Linear:
    """From each row's error, summed by user: those of positives over W+, those of negatives over W-."""
    both = zip(data.masses, (positive_N, negative_N), strict=True)
    parts = [mass * part / max(float(mass.sum()), 1e-300) for mass, part in both]
    positive_U, negative_U = by_user(parts, user_N, users).T
    held_UC = by_user(data.masses, user_N, users) > 0
    holders = int(held_UC[:, 0].sum()), int(held_UC[:, 1].sum()), int(held_UC.any(1).sum())
    return Linear(value, positive_U, negative_U, holders, data.positives)


def _undefined(n: int) -> Linear:
    return Linear(NAN, np.zeros(0), np.zeros(0), (0, 0, 0), n)


def observe_ks(data: Labelled, user_N: Any, users: int) -> Summed:
    """KS, the largest |TPR - FPR|; its interval is that of the gap at the threshold where it is largest."""
    steps = data.steps
    if not steps.defined:
        return Summed(np.zeros((users, 4)), gap, data.positives)
    upto_N = floats(steps.step_N <= steps.widest)
    columns = [part for mass in data.masses for part in (mass * upto_N, mass)]
    return Summed(by_user(columns, user_N, users), gap, data.positives)


def _observe_gauc(weight: GroupWeight, data: Labelled, user_N: Any, users: int) -> Summed:
    """Mean AUC within users."""
    return Summed(host(area_by_group(data, user_N, users, weight)), ratio, data.positives)


observe_gauc, observe_gauc_positives, observe_gauc_none, observe_gauc_half = (
    partial(_observe_gauc, GAUC[name]) for name in ("gauc", "gauc_positives", "gauc_none", "gauc_half")
)


def observe_sums(metric: Sums, data: Labelled, user_N: Any, users: int) -> Summed:
    """A metric of probabilities; n counts the rows."""
    return Summed(by_user(list(metric.columns(data).T), user_N, users), metric.value, len(data.labels))


def observe_coverage(item_L: Any, user_L: Any, users: int, catalogue: int) -> Linear:
    """Share of the catalogue that is in any list, from the (user, item) pairs of all lists. Its interval is the
    jackknife over the n users with a list: without a user the items are gone that were in no other user's lists, and
    the variance is (n - 1)/n sum (loss - mean loss)^2."""
    if not len(item_L) or not catalogue:
        return _undefined(0)
    item_X, user_X = np.divmod(np.unique(host(item_L) * users + host(user_L)), users)
    _, first, holders = np.unique(item_X, return_index=True, return_counts=True)
    alone_U = np.bincount(user_X[first[holders == 1]], minlength=users) / catalogue
    shown_U = np.bincount(user_X, minlength=users) > 0
    n = int(shown_U.sum())
    parts_U = np.where(shown_U, (alone_U - float(alone_U[shown_U].mean())) * (n - 1) / n, 0.0)
    return Linear(len(first) / catalogue, parts_U, np.zeros(users), (n, n, n), n, "share")


def observe_mean(values_N: Floats, user_N: NDArray, users: int, weights_N: Floats | None = None) -> Summed:
    """Weighted mean of the values that are not NaN; n counts them."""
    return observe_quotient(values_N, np.ones_like(values_N), user_N, users, weights_N)


def observe_quotient(
    tops_N: Floats, bottoms_N: Floats, user_N: NDArray, users: int, weights_N: Floats | None = None
) -> Summed:
    """Weighted sum of ``tops`` over that of ``bottoms``, over the rows where neither is NaN; n counts them."""
    known = ~(np.isnan(tops_N) | np.isnan(bottoms_N))
    weight = known * 1.0 if weights_N is None else known * weights_N
    columns = [np.where(known, each, 0.0) * weight for each in (tops_N, bottoms_N)]
    return Summed(by_user(columns, user_N, users), ratio, int(known.sum()))


def by_user(columns: Sequence[Any], user_N: Any, users: int) -> Floats:
    """Sums [U, C] of columns [N] by user."""
    return np.stack([np.bincount(host(user_N), host(column), users) for column in columns], 1)
