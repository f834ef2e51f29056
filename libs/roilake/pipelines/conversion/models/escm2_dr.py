"""ESCM2-DR: the loss of every impression imputed, and corrected by inverse propensity where it is known."""

from __future__ import annotations

import torch.nn.functional as F

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import PropensityOptions, click_terms, cross_entropy, mean, propensity
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.task import Term

Options = PropensityOptions


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + R_DR + R_imp + ctcvr / click rate * mean_D l(o y, pCTR pCVR)

    R_DR = mean_D m + sum_i w_i o_i (l_i - m_i) / e_i / sum_i w_i o_i / e_i
    R_imp = sum_i w_i o_i (l_i - m_i)^2 / e_i / sum_i w_i o_i / e_i,  l_i without gradient

    with l_i = l(y_i, pCVR_i), m = softplus of a tower of its own, the imputed loss, and e as in ``escm2_ipw``. R_DR is
    unbiased for the mean of l if e or m is right (denominators as there). Its gradient goes through m too: it lowers m
    on unclicked impressions and raises it on clicked ones, so that in shared embeddings m acts as another click task;
    without that gradient R_DR would teach pCVR what R_IPW teaches it.

    Source: Wang et al. 2022 (arXiv 2204.05125), forms as told by public notes; softplus, self-normalisation and the
    weight 1 of both risks are ours.
    """

    options: Options
    tasks = ("ctr", "cvr", "imputation")

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The terms of L: R_DR is ``imputed`` and ``cvr`` together, R_imp is ``imputation``."""
        shared = self.embeddings(batch.row_BF)
        ctr_B, cvr_B = self.towers["ctr"](shared), self.towers["cvr"](shared)
        imputed_B = F.softplus(self.towers["imputation"](shared))
        propensity_B, clipped = propensity(batch, ctr_B, self.options.clip)
        weight_B = batch.weight_B * batch.click_B / propensity_B
        loss_B = cross_entropy(cvr_B, batch.conversion_B)
        return click_terms(self, batch, ctr_B, cvr_B, self.options.ctcvr) | {
            "imputed": mean(imputed_B, batch.weight_B),
            "cvr": mean(loss_B - imputed_B, weight_B),
            "imputation": mean((loss_B.detach() - imputed_B) ** 2, weight_B),
            "clipped": clipped,
        }
