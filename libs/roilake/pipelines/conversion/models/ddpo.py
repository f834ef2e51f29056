"""DDPO: soft labels from a conversion-propensity net, learnt on clicks, for the whole space."""

from __future__ import annotations

import torch

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import PropensityOptions, click_terms, cross_entropy, mean, propensity
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.task import Term

Options = PropensityOptions


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + ctcvr / click rate * mean_D l(o y, pCTR p) + mean_D_click l(y, r)
        + sum_i w_i o_i l(r*_i, p_i) / e_i / sum_i w_i o_i / e_i
        + sum_i w_i (1 - o_i) l(r*_i, p_i) / (1 - e_i) / sum_i w_i (1 - o_i) / (1 - e_i)

    p is pCVR, r the conversion-propensity net, r* = 1 where converted, else r (without gradient): the soft label of
    clicked and unclicked impressions alike. e as in ``escm2_ipw``; all weights are 1.

    Source: DDPO (SIGIR 2024), form and self-normalisation as read in the published text and code.
    """

    options: Options
    tasks = ("ctr", "cvr", "conversion_propensity")

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The terms of L; the soft label is made without gradient from the conversion-propensity net."""
        shared = self.embeddings(batch.row_BF)
        ctr_B, cvr_B = self.towers["ctr"](shared), self.towers["cvr"](shared)
        soft_B = self.towers["conversion_propensity"](shared)
        label_B = torch.where(batch.conversion_B > 0, 1.0, torch.sigmoid(soft_B.detach()))
        propensity_B, clipped = propensity(batch, ctr_B, self.options.clip)
        clicks_B, others_B = batch.weight_B * batch.click_B, batch.weight_B * (1 - batch.click_B)
        loss_B = cross_entropy(cvr_B, label_B)
        return click_terms(self, batch, ctr_B, cvr_B, self.options.ctcvr) | {
            "conversion_propensity": mean(cross_entropy(soft_B, batch.conversion_B), clicks_B),
            "cvr": mean(loss_B, clicks_B / propensity_B),
            "cvr_unclicked": mean(loss_B, others_B / (1 - propensity_B)),
            "clipped": clipped,
        }
