"""What methods share that learn conversion from all impressions: pCTCVR, and weights by inverse propensity.

Legend: o click, y conversion, w weight of an impression, e propensity of its click.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Bounded
from torch import Tensor

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import cross_entropy, mean, product_cross_entropy
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


def click_terms(
    model: ConversionModel, batch: ImpressionBatch, ctr_B: Tensor, cvr_B: Tensor, ctcvr: float
) -> dict[str, Term]:
    """mean_D l(o, pCTR), and ctcvr / click rate * mean_D l(o y, pCTR pCVR) (left out at 0)."""
    terms = {"ctr": mean(cross_entropy(ctr_B, batch.click_B), batch.weight_B)}
    if ctcvr:
        loss_B = product_cross_entropy(ctr_B, cvr_B, batch.click_B * batch.conversion_B)
        terms["ctcvr"] = mean(loss_B, batch.weight_B, ctcvr / model.schema.click_rate)
    return terms
