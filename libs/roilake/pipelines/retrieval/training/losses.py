"""Losses over the items of a step. Each gives one number per request, so that ranks can add up and divide once.

Legend: B requests, P positives, I items of the step (its candidates and its positives).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NEVER = -1e9  # stands for "not a candidate" in a log-sum-exp; -inf would give NaN gradients in an empty row
FOCAL_GAMMA = 2.0
FOCAL_SCALE = 4.0
FOCAL_NEGATIVES = 10


def sampled_softmax(score_BI: Tensor, positive_BP: Tensor, candidate_offset_I: Tensor) -> Tensor:
    """Softmax cross-entropy of each positive against candidates shared by all requests, mean over positives [B].

    L_rp = -log( e^{s_rp} / (e^{s_rp} + sum_{c in C, c not in positives(r)} e^{s_rc - log pi_c}) )

    Args:
        score_BI: scores of all items of the step.
        positive_BP: columns of the positives, -1 padded. A request without any gets 0.
        candidate_offset_I: -log pi (``retrieval.training.candidates``); ``NEVER`` for items that are not candidates.

    Source: importance-sampled softmax (Bengio and Senecal 2008), its correction known as logQ (Yi et al. 2019). The
    positive itself is always there, so it needs none; leaving out a request's other positives is ours.
    """
    mask_BP = positive_BP >= 0
    column_BP = positive_BP.clamp(min=0)
    own_BP = column_BP.where(mask_BP, column_BP[:, :1])  # padding repeats the first
    rest_B1 = _LogSumExp.apply((score_BI + candidate_offset_I).scatter(1, own_BP, NEVER))
    logit_BP = score_BI.gather(1, column_BP)
    loss_BP = torch.logaddexp(logit_BP, rest_B1) - logit_BP
    return _masked_mean(loss_BP, mask_BP)


def focal_cross_entropy(score_BI: Tensor, positive_BP: Tensor, candidate_offset_I: Tensor) -> Tensor:
    """ZOOMER's focal cross-entropy with p = sigmoid(4 s), per request [B].

    L_r = (mean_p (1 - p_rp)^2 (-log p_rp) + K mean_c p_rc^2 (-log(1 - p_rc))) / (1 + K)

    over the request's positives p and the step's candidates c that are not among them (``candidate_offset_I`` above
    ``NEVER``), K = 10 negatives per positive. A request without positives gets 0.

    The form is that of the published code (gamma 2, scale 4; the sigmoid itself is inferred). The code samples K
    negatives for each positive; averaging over the shared candidates has the same expectation. Its constant factor and
    weight decay of 1e-6 are left out."""
    mask_BP = positive_BP >= 0
    negative_BI = (candidate_offset_I > NEVER) & ~_is_positive(score_BI, positive_BP)
    logit_BI = FOCAL_SCALE * score_BI
    logit_BP = logit_BI.gather(1, positive_BP.clamp(min=0))
    gain_B = _masked_mean(torch.sigmoid(-logit_BP) ** FOCAL_GAMMA * F.softplus(-logit_BP), mask_BP)
    cost_B = _masked_mean(torch.sigmoid(logit_BI) ** FOCAL_GAMMA * F.softplus(logit_BI), negative_BI)
    return (gain_B + FOCAL_NEGATIVES * cost_B * mask_BP.any(dim=1)) / (1 + FOCAL_NEGATIVES)


class _LogSumExp(torch.autograd.Function):
    """log sum_i e^x_i [B, 1] of x [B, I]. Its gradient is the softmax, which is kept, not made anew: half the time of
    ``torch.logsumexp``, which is a step's largest cost beside the scores themselves."""

    @staticmethod
    def forward(ctx: Any, x_BI: Tensor) -> Tensor:
        softmax_BI = torch.softmax(x_BI, dim=1)
        top_B1, at_B1 = x_BI.max(dim=1, keepdim=True)
        ctx.save_for_backward(softmax_BI)
        return top_B1 - softmax_BI.gather(1, at_B1).log()

    @staticmethod
    def backward(ctx: Any, gradient_B1: Tensor) -> Tensor:
        (softmax_BI,) = ctx.saved_tensors
        return softmax_BI * gradient_B1


def _is_positive(score_BI: Tensor, positive_BP: Tensor) -> Tensor:
    """[B, I] whether the item is one of the request's positives; a padded position points at a spare last column."""
    marks = torch.zeros(score_BI.shape[0], score_BI.shape[1] + 1, dtype=torch.bool, device=score_BI.device)
    return marks.scatter_(1, positive_BP.where(positive_BP >= 0, score_BI.shape[1]), True)[:, :-1]


def _masked_mean(value_BX: Tensor, mask_BX: Tensor) -> Tensor:
    return (value_BX * mask_BX).sum(dim=1) / mask_BX.sum(dim=1).clamp(min=1)
