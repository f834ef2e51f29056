"""DCMT: a factual and a counterfactual conversion tower, one for each half of the space, that must add up to 1."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field as Bounded

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import PropensityOptions, click_terms, cross_entropy, mean, propensity
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.task import Term


class Options(PropensityOptions):
    """``agreement``: weight of |p + p* - 1|."""

    agreement: Annotated[float, Bounded(ge=0)] = 1e-3


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + ctcvr / click rate * mean_D l(o y, pCTR p)
        + sum_i w_i o_i l(y_i, p_i) / e_i / sum_i w_i o_i / e_i
        + sum_i w_i (1 - o_i) l(1 - y_i, p*_i) / (1 - e_i) / sum_i w_i (1 - o_i) / (1 - e_i)
        + agreement * mean_D |p + p* - 1|

    p is pCVR, p* the counterfactual tower's probability of no conversion; of an unclicked impression y = 0, so its
    label is 1. e as in ``escm2_ipw``. Only the last term and the shared embeddings carry p* over to p.

    Source: Zhu et al. 2023 (arXiv 2302.06141), form and 1e-3 as read in public code; self-normalisation is ours.
    """

    options: Options
    tasks = ("ctr", "cvr", "counterfactual")

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The terms of L in the order of the class's docstring, and the share of propensities that were clipped."""
        shared = self.embeddings(batch.row_BF)
        ctr_B, cvr_B = self.towers["ctr"](shared), self.towers["cvr"](shared)
        other_B = self.towers["counterfactual"](shared)
        propensity_B, clipped = propensity(batch, ctr_B, self.options.clip)
        clicked_B = batch.weight_B * batch.click_B / propensity_B
        others_B = batch.weight_B * (1 - batch.click_B) / (1 - propensity_B)
        gap_B = (torch.sigmoid(cvr_B) + torch.sigmoid(other_B) - 1).abs()
        return click_terms(self, batch, ctr_B, cvr_B, self.options.ctcvr) | {
            "cvr": mean(cross_entropy(cvr_B, batch.conversion_B), clicked_B),
            "counterfactual": mean(cross_entropy(other_B, 1 - batch.conversion_B), others_B),
            "agreement": mean(gap_B, batch.weight_B, self.options.agreement),
            "clipped": clipped,
        }
