"""Losses that conversion models are made of, per impression, and how they become terms.

Legend: B impressions; o click, y conversion, w weight of an impression, e propensity of its click.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.training.task import Term


def mean(loss_B: Tensor, weight_B: Tensor, coefficient: float = 1.0) -> Term:
    """coefficient * sum_i w_i l_i / sum_i w_i. Weights carry no gradient unless the caller leaves it in the loss."""
    return Term((weight_B * loss_B).sum(), weight_B.detach().sum(), coefficient)


def cross_entropy(logit_B: Tensor, target_B: Tensor) -> Tensor:
    """l(y, p) = -y log p - (1 - y) log(1 - p), p = sigmoid(logit); y may be a probability."""
    return F.binary_cross_entropy_with_logits(logit_B, target_B, reduction="none")


def product_cross_entropy(ctr_B: Tensor, cvr_B: Tensor, target_B: Tensor) -> Tensor:
    """l(y, p q) of two probabilities given as logits a and b:
    log(p q) = log s(a) + log s(b),  log(1 - p q) = log s(a) + log s(b) + log(e^-a + e^-b + e^-(a+b))."""
    both_B = F.logsigmoid(ctr_B) + F.logsigmoid(cvr_B)
    neither_B = torch.stack([-ctr_B, -cvr_B, -ctr_B - cvr_B]).logsumexp(dim=0)
    return -both_B - (1 - target_B) * neither_B


def disagreement(first_B: Tensor, second_B: Tensor) -> Tensor:
    """KL(p || p') = p log(p / p') + (1 - p) log((1 - p) / (1 - p')) in nats of two probabilities given as logits."""
    p_B = torch.sigmoid(first_B)
    yes_B = F.logsigmoid(first_B) - F.logsigmoid(second_B)
    no_B = F.logsigmoid(-first_B) - F.logsigmoid(-second_B)
    return p_B * yes_B + (1 - p_B) * no_B


def propensity(batch: ImpressionBatch, ctr_B: Tensor, clip: float) -> tuple[Tensor, Term]:
    """e_i: the logged propensity, or the model's own pCTR (without gradient) where none was logged, clipped to
    [clip, 1 - clip]; and the share of clicked impressions that were clipped from below, as a figure."""
    known_B = torch.where(batch.propensity_B.isnan(), torch.sigmoid(ctr_B.detach()), batch.propensity_B)
    clipped_B = (known_B < clip).float()
    return known_B.clamp(clip, 1 - clip), mean(clipped_B, batch.click_B, coefficient=0.0)
