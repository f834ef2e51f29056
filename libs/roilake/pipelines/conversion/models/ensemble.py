"""An ensemble of models as one teacher; the model that suits the log weighs most.

Which method is right depends on how clicks and conversions hang together, and nobody knows that of his own log: methods
that take unclicked for not converted win where both have one cause, and lose badly where clicks are bait. The clicks
of the validation split tell much of it. Ours, not a published method.

Legend: M members, R impressions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]

SHARPNESS = 8.0
"""How many steps of e a member's weight falls by, when its AUC is one standard error below the best. Members are judged
on the same clicks, so their differences are surer than each of them."""
_EDGE = 1e-7


def weights(auc_M: Floats, conversions: int, others: int) -> Floats:
    """w_m = exp(SHARPNESS (A_m - A) / s) / sum, with A the best AUC on the validation clicks and s its standard error.

    s^2 = [A (1 - A) + (n - 1) (A / (2 - A) - A^2) + (k - 1) (2 A^2 / (1 + A) - A^2)] / (n k) of n conversions and k
    other clicks (Hanley and McNeil 1982). A member whose AUC is not defined (NaN) weighs nothing; all weigh the same
    where no AUC is defined."""
    known_M = ~np.isnan(auc_M)
    if not known_M.any() or not conversions or not others:
        return np.full(len(auc_M), 1 / len(auc_M))
    best = float(auc_M[known_M].max())
    variance = best * (1 - best)
    variance += (conversions - 1) * (best / (2 - best) - best**2)
    variance += (others - 1) * (2 * best**2 / (1 + best) - best**2)
    error = max(np.sqrt(variance / (conversions * others)), _EDGE)
    weight_M: Floats = np.where(known_M, np.exp(SHARPNESS * (np.nan_to_num(auc_M) - best) / error), 0.0)
    return weight_M / weight_M.sum()


def weighted_prediction(probability_MR: Floats, weight_M: Floats) -> tuple[Floats, Floats]:
    """The probability whose logit is the weighted mean of the members' logits [R], and how far they are from it
    [R]: sum_m w_m KL(p_m || p), in nats."""
    sure_MR = np.clip(probability_MR, _EDGE, 1 - _EDGE)
    mean_R: Floats = expit(weight_M @ logit(sure_MR))
    apart_MR = sure_MR * np.log(sure_MR / mean_R) + (1 - sure_MR) * np.log((1 - sure_MR) / (1 - mean_R))
    return mean_R, weight_M @ apart_MR
