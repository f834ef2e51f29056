"""Losses that conversion models are made of, per impression, and how they become terms; and what methods share that
learn conversion from all impressions: pCTCVR, and weights by inverse propensity.

Legend: B impressions; o click, y conversion, w weight of an impression, e propensity of its click.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field as Bounded
from torch import Tensor

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.towers import ConversionModel, ConversionOptions
from roilake.training.task import Term


class ProductOptions(ConversionOptions):
    """``ctcvr``: weight of the loss on pCTCVR = pCTR pCVR, over the click rate: at 1 a conversion weighs in it what it
    weighs in a mean over clicks. The papers' weight of 1 without division lets the clicks rule at low click rates."""

    ctcvr: Annotated[float, Bounded(ge=0)] = 0.3


class PropensityOptions(ProductOptions):
    """``clip``: propensities below it (and above 1 - clip) are taken as that; figure ``clipped`` is the share of
    clicked impressions to which that happened."""

    clip: Annotated[float, Bounded(gt=0, lt=0.5)] = 0.02


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


def click_terms(
    model: ConversionModel, batch: ImpressionBatch, ctr_B: Tensor, cvr_B: Tensor, ctcvr: float
) -> dict[str, Term]:
    """mean_D l(o, pCTR), and ctcvr / click rate * mean_D l(o y, pCTR pCVR) (left out at 0)."""
    terms = {"ctr": mean(cross_entropy(ctr_B, batch.click_B), batch.weight_B)}
    if ctcvr:
        loss_B = product_cross_entropy(ctr_B, cvr_B, batch.click_B * batch.conversion_B)
        terms["ctcvr"] = mean(loss_B, batch.weight_B, ctcvr / model.schema.click_rate)
    return terms
